# What deploy.sh and teardown.sh share: they source it, and define `usage`.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

PYTHON=${PYTHON:-.venv/bin/python}
environment='' dry=''

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Prints a command, and runs it unless this is a dry run.
run() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  if [[ -z $dry ]]; then "$@"; fi
}

cdk() { run "$PYTHON" scripts/cdk.py --app "$PYTHON app.py" --context "environment=$environment" "$@"; }

misused() {
  usage >&2
  exit 2
}

# Looks whether what `make setup` installs is there.
tools() {
  command -v "$PYTHON" > /dev/null || fail "There is no $PYTHON: run 'make setup' first."
  "$PYTHON" -c 'from importlib.metadata import version as v; v("aws-cdk-lib"), v("boto3")' || fail "Requirements are missing: run 'make setup'."
  "$PYTHON" scripts/cdk.py --version > /dev/null || exit 1
}
