#!/usr/bin/env bash
# Exchanges who this job is at GitHub for two hours' credentials of AWS, and leaves them to the steps that follow.
# Exchanged once and not by each program: GitHub's token is good for five minutes, and a rollout takes half an hour.
set -euo pipefail
curl --fail --silent --show-error -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
  "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com" \
  | python3 -c 'import json, sys; print(json.load(sys.stdin)["value"], end="")' \
  | aws sts assume-role-with-web-identity --role-arn "$ROLE_ARN" --role-session-name "github-$GITHUB_RUN_ID" \
    --web-identity-token file:///dev/stdin --duration-seconds 7200 --query Credentials --output json \
  | python3 -c '
import json, os, sys

given = json.load(sys.stdin)
with open(os.environ["GITHUB_ENV"], "a") as environment:
    for name, key in ("ACCESS_KEY_ID", "AccessKeyId"), ("SECRET_ACCESS_KEY", "SecretAccessKey"), ("SESSION_TOKEN", "SessionToken"):
        print("::add-mask::" + given[key])
        print(f"AWS_{name}={given[key]}", file=environment)
'
