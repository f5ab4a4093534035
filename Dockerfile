# The one image: the one binary, non-root.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev clang && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p trivet

FROM debian:bookworm-slim
COPY --from=build /src/target/release/trivet /usr/local/bin/trivet
RUN useradd --system --uid 65532 --home-dir /data trivet && install -d -o trivet /data
USER 65532
VOLUME /data
ENTRYPOINT ["/usr/local/bin/trivet"]
