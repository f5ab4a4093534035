#!/bin/sh
# The README's tour with the AWS CLI, as a test: every answer is held against what DynamoDB answers.
set -eu
ddb() { aws dynamodb --endpoint-url "$TRIVET_ENDPOINT" --output json "$@"; }
pick() { python3 -c 'import json, sys; value = json.load(sys.stdin)
for step in sys.argv[1].split("."): value = value[int(step)] if isinstance(value, list) else value[step]
print(value)' "$1"; }
same() {
    if [ "$2" != "$3" ]; then
        echo "not ok: $1: expected '$3', got '$2'" >&2
        exit 1
    fi
    echo "ok: $1"
}
refused() {
    what=$1
    expected=$2
    shift 2
    if answer=$("$@" 2>&1); then
        echo "not ok: $what: it was accepted: $answer" >&2
        exit 1
    fi
    case "$answer" in
    *"$expected"*) echo "ok: $what" ;;
    *)
        echo "not ok: $what: expected $expected in: $answer" >&2
        exit 1
        ;;
    esac
}

ddb create-table --table-name Music --billing-mode PAY_PER_REQUEST \
    --attribute-definitions AttributeName=Artist,AttributeType=S AttributeName=Song,AttributeType=S \
    --key-schema AttributeName=Artist,KeyType=HASH AttributeName=Song,KeyType=RANGE \
    --tags Key=trivet.dev/partitions,Value=3 >/dev/null
aws dynamodb --endpoint-url "$TRIVET_ENDPOINT" wait table-exists --table-name Music
same "describe-table" "$(ddb describe-table --table-name Music | pick Table.TableStatus)" ACTIVE
ddb put-item --table-name Music --item '{"Artist":{"S":"Nina Simone"},"Song":{"S":"Sinnerman"},"Year":{"N":"1965"}}'
same "get-item" "$(ddb get-item --table-name Music --consistent-read \
    --key '{"Artist":{"S":"Nina Simone"},"Song":{"S":"Sinnerman"}}' | pick Item.Year.N)" 1965
same "update-item" "$(ddb update-item --table-name Music --return-values UPDATED_NEW \
    --key '{"Artist":{"S":"Nina Simone"},"Song":{"S":"Sinnerman"}}' \
    --update-expression 'SET plays = if_not_exists(plays, :zero) + :one' \
    --expression-attribute-values '{":zero":{"N":"0"},":one":{"N":"1"}}' | pick Attributes.plays.N)" 1
refused "a failed condition" ConditionalCheckFailedException ddb put-item --table-name Music \
    --item '{"Artist":{"S":"Nina Simone"},"Song":{"S":"Sinnerman"}}' --condition-expression 'attribute_not_exists(Artist)'
same "query" "$(ddb query --table-name Music --key-condition-expression 'Artist = :a' \
    --expression-attribute-values '{":a":{"S":"Nina Simone"}}' | pick Count)" 1
same "scan" "$(ddb scan --table-name Music --select COUNT | pick Count)" 1
same "list-tables" "$(ddb list-tables | pick TableNames.0)" Music
refused "a missing table" ResourceNotFoundException ddb scan --table-name Nothing
same "delete-item" "$(ddb delete-item --table-name Music --return-values ALL_OLD \
    --key '{"Artist":{"S":"Nina Simone"},"Song":{"S":"Sinnerman"}}' | pick Attributes.Year.N)" 1965
same "delete-table" "$(ddb delete-table --table-name Music | pick TableDescription.TableStatus)" DELETING
aws dynamodb --endpoint-url "$TRIVET_ENDPOINT" wait table-not-exists --table-name Music
echo "ok: table-not-exists"
