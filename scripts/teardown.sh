#!/usr/bin/env bash
# Takes an environment down. What must not be lost is kept, unless --with-data says otherwise.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"

usage() {
  cat << 'USAGE'
usage: scripts/teardown.sh dev|staging|prod [--with-data] [--dry-run]
  --with-data  erase tables, buckets, events, models and clients as well, for ever
  --dry-run    print every command, run none
USAGE
}

erase=''
while (($#)); do
  case $1 in
    dev | staging | prod) [[ -z $environment ]] || misused; environment=$1 ;;
    --with-data) erase=yes ;;
    --dry-run) dry=yes ;;
    -h | --help) usage; exit ;;
    *) misused ;;
  esac
  shift
done
[[ -n $environment ]] || misused

tools
destroy() { cdk destroy "$@" --force --context packages=sources; } # of which nothing need be built

if [[ -z $dry ]]; then
  where=$("$PYTHON" scripts/cloud.py account)
  what='and keeps its data'
  [[ -z $erase ]] || what='AND ERASES ALL OF ITS DATA, FOR EVER'
  printf 'This takes Vireo %s down in %s %s.\n' "$environment" "$where" "$what"
  wanted=$environment
  [[ -z $erase ]] || wanted="erase $environment"
  read -r -p "Type '$wanted' to go on: " answer || true
  [[ ${answer:-} == "$wanted" ]] || fail 'Nothing was done.'
  export AWS_REGION=${where#*/}
fi

if [[ -z $erase ]]; then
  parts=(monitoring api events training images recommender)
  destroy "${parts[@]/#/vireo-$environment-}" --exclusively
  cat << KEPT

Kept, and still costing money: vireo-$environment-data (tables, buckets, stream, cache),
vireo-$environment-callers (clients) and vireo-$environment-network where there is one.
scripts/deploy.sh $environment goes on with them.
KEPT
else
  plan=build/retained-$environment.json
  run mkdir -p build
  printf '+ %s scripts/cloud.py retained %s > %s\n' "$PYTHON" "$environment" "$plan"
  if [[ -z $dry ]]; then "$PYTHON" scripts/cloud.py retained "$environment" > "$plan"; fi
  destroy --all
  run "$PYTHON" scripts/cloud.py erase "$plan"
  printf '\nNothing is left but what the account has once (the CDK toolkit, vireo-account), and logs\n'
  printf 'that expire by themselves.\n'
fi
