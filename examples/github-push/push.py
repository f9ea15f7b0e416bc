#!/usr/bin/env python3
"""Sends a push as GitHub does: a real payload, signed, with a delivery id.

    GITHUB_SECRET='a long random text' push.py --url http://127.0.0.1:3233/hooks/github/guest/push

The same --delivery again is the same delivery: the hub recognises it. --form sends it as a form, the other type that GitHub
has. The payload, push.json, is one of @octokit/webhooks-examples (MIT).
"""

import argparse
import hashlib
import hmac
import os
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:3233/hooks/github/guest/push")
    parser.add_argument("--payload", type=pathlib.Path, default=pathlib.Path(__file__).parent / "push.json")
    parser.add_argument("--delivery", default=str(uuid.uuid4()))
    parser.add_argument("--form", action="store_true")
    args = parser.parse_args()
    secret = os.environ.get("GITHUB_SECRET")
    if not secret:
        sys.exit("push.py: GITHUB_SECRET is not set; it is the secret of the feed")
    body, kind = args.payload.read_bytes(), "application/json"
    if args.form:
        body, kind = urllib.parse.urlencode({"payload": body}).encode(), "application/x-www-form-urlencoded"
    headers = {
        "Content-Type": kind,
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": args.delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    request = urllib.request.Request(args.url, data=body, headers=headers, method="POST")
    # The hub is near: a proxy of the environment is not asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            print(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        sys.exit(f"push.py: {error.code} {error.read().decode()}")
    except urllib.error.URLError as error:
        sys.exit(f"push.py: no answer from {args.url}: {error.reason}")


main()
