# The one image: the one binary on Debian, under a number instead of a name, with nothing to write to but /data.
# `make image` compiles in the stage `compile`; `make image TRIVET=…` stops at the stage `prebuilt`, before it.
FROM debian:bookworm-slim AS house
# For `docker run`: a new volume takes over who owns the folder that it covers.
RUN install -d -o 65532 -g 65532 /data
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/trivet"]

FROM house AS prebuilt
COPY trivet /usr/local/bin/trivet

FROM rust:1.95-bookworm AS compile
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev clang && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p trivet && strip --strip-debug -o /trivet target/release/trivet

FROM house
COPY --from=compile /trivet /usr/local/bin/trivet
