#!/usr/bin/env bash
# Deploys an environment into the AWS account of the current credentials, from nothing to a first
# answer. Every step may be repeated: what is there already is left as it is.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"

usage() {
  cat << 'USAGE'
usage: scripts/deploy.sh dev|staging|prod [--data DIR] [--no-train] [--yes] [--dry-run]
  --data DIR  import this data set (docs/dataset.md) before the first training;
              without data training generates some
  --no-train  deploy code and infrastructure only
  --yes       do not ask
  --dry-run   print every command; then do what needs no account: build the layers (a minute or
              two, unless they are there), synthesise, and show what would be created
USAGE
}

data='' train=yes ask=yes
while (($#)); do
  case $1 in
    dev | staging | prod) [[ -z $environment ]] || misused; environment=$1 ;;
    --data) (($# > 1)) || misused; data=$2; shift ;;
    --no-train) train='' ;;
    --yes) ask='' ;;
    --dry-run) dry=yes ;;
    -h | --help) usage; exit ;;
    *) misused ;;
  esac
  shift
done
[[ -n $environment ]] || misused
[[ -z $data || -d $data ]] || fail "There is no folder $data."

# 1. Tools, account
tools
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
run "$PYTHON" scripts/build_layers.py --unless-built

# What an account and region has once, unless it has it
role=''
printf '+ %s scripts/cloud.py gateway-role\n' "$PYTHON"
if [[ -z $dry ]]; then role=$("$PYTHON" scripts/cloud.py gateway-role); fi
if [[ -z $role ]]; then environment=account cdk deploy vireo-account --require-approval never; fi

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

if [[ -n $dry ]]; then
  cat << 'REHEARSAL'

None of these was run. What needs no account is done now, without credentials, though there be some:
packaging, which takes a minute or two where the layers are not built yet, and synthesis.

REHEARSAL
  dry='' folder=build/dry-run/$environment
  export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
  unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
  rm -rf "$folder" "$folder-account"
  run "$PYTHON" scripts/build_layers.py --unless-built
  cdk synth --all --quiet --no-notices --output "$folder"
  run "$PYTHON" scripts/plan.py "$folder"
  environment=account cdk synth --all --quiet --no-notices --output "$folder-account"
  run "$PYTHON" scripts/plan.py "$folder-account"
  exit
fi

cat << NEXT

Vireo $environment is deployed. What next:
  - subscribe to failures and alarms: NoticesArn is an output of vireo-$environment-data
  - give others access: a client of the user pool in vireo-$environment-api, and whose it is
  - go back to the bundle before: $PYTHON scripts/rollback.py --environment $environment
  - docs/operations.md has everything else; scripts/teardown.sh $environment takes it down
NEXT
