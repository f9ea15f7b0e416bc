"""Says in a few fields what a push changed."""


def main(args):
    files = {"added": set(), "modified": set(), "removed": set()}
    for commit in args["commits"]:
        for kind, names in files.items():
            names.update(commit.get(kind, []))
    # What one commit adds and a later one removes is in neither.
    short_lived = files["added"] & files["removed"]
    branch = args["ref"].removeprefix("refs/heads/")
    titles = [commit["message"].splitlines()[0] for commit in args["commits"] if commit["message"]]
    print(f"{args['repository']}: {len(args['commits'])} commits on {branch} by {args['by']}, delivery {args['delivery']}")
    return {
        "repository": args["repository"],
        "branch": branch,
        "by": args["by"],
        "titles": titles,
        "changed": {kind: sorted(names - short_lived) for kind, names in files.items()},
        "link": args["compare"],
    }
