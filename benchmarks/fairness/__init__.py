"""Does anybody wait for somebody else's huge job? Small jobs beside a bulk job, on the system as `make up` has it.

Four parts, each on a system of its own: `small` (how long three short documents take), `load` (the same where their
model must be loaded first, and right after a restart), `shares` (what ten keys get), `throughput` (what it costs the
bulk job).
"""
