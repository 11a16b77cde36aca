"""`python -m bids_recon` is the same as `bids-recon`."""

import sys

from bids_recon.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
