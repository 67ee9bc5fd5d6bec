"""Runs the CDK's command, in the version that reads the output of our aws-cdk-lib.

It comes from npm, pinned and hashed in ``scripts/cdk``, and runs on the Node of the requirements.
`make setup` installs it; if that failed, the first use does.
"""

from __future__ import annotations

import os
import sys

from scripts.node_package import CDK, NODE, NotInstalled, installed


def main() -> None:
    """Replace this process by the command."""
    try:
        folder = installed(CDK)
    except NotInstalled as error:
        raise SystemExit(
            f"{error}\n\nThe CDK's command could not be installed: only deploying needs it; for "
            "that, run 'make setup' again where npm's registry can be reached."
        ) from None
    # It would send usage data.
    os.environ.setdefault("CDK_DISABLE_CLI_TELEMETRY", "true")
    command = [str(NODE), str(folder / "node_modules/aws-cdk/bin/cdk"), *sys.argv[1:]]
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
