"""The whole system under steady load and random faults, and what was acknowledged checked against what is there.

    make chaos                                     CHAOS_MINUTES=5, CHAOS_SEED at random
    python -m tests.reliability.chaos --help

`load` does what producers do and keeps a `history` of what was acknowledged; `faults` are planned from the seed, and
done to the `system` (`plan`); when they have ended and all work is done, `check` compares the history with what the api
shows, and `report` says it. The last line of a run is JSON.
"""
