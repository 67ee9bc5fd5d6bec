#!/usr/bin/env bash
# Builds the training image and pushes it, in the account's CodeBuild; buildspec.yml calls it.
# The project sets REPOSITORY_URI and IMAGE_TAG.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Tags of the repository never change what they mean: under this one it keeps the base image as the
# first build found it, and every later build is made of that. For a newer one, with AWS' patches,
# raise the number.
BASE=base-1

aws ecr get-login-password | docker login --username AWS --password-stdin "${REPOSITORY_URI%%/*}"
if ! docker pull "$REPOSITORY_URI:$BASE"; then
  origin=$(sed -n 's/^ARG BASE=//p' lambdas/training/Dockerfile)
  docker pull --platform linux/arm64 "$origin"
  docker tag "$origin" "$REPOSITORY_URI:$BASE"
  docker push "$REPOSITORY_URI:$BASE"
fi
docker image inspect --format 'Built on {{join .RepoDigests ", "}}' "$REPOSITORY_URI:$BASE"
# Lambda takes no image index, which a provenance attestation would make of it.
docker build --provenance=false --platform linux/arm64 --file lambdas/training/Dockerfile \
  --build-arg "BASE=$REPOSITORY_URI:$BASE" --tag "$REPOSITORY_URI:$IMAGE_TAG" .
docker push "$REPOSITORY_URI:$IMAGE_TAG"
