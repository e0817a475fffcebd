"""`python -m api`."""

from api.main import main

main(prog_name="python -m api")
