"""Equal work once: what is shared, what is not, and that nobody's outcome is another one for it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.workers.echoes import Recording, echo, item_of
from textmill.errors import DeviceOutOfMemory, Draining, LeaseLost, ModelError, ProcessingFailed
from workers.engine.answers import ENTRY_BYTES, Answers
from workers.engine.budget import Budgets
from workers.engine.engine import Engine
from workers.engine.inbox import Batch, Inbox
from workers.engine.pile import Waiting
from workers.engine.residency import Residency
from workers.engine.ticket import Ticket
from workers.engine.watchdog import Watch
from workers.runner import ModelRunner

SOON = 10
PLENTY = 1 << 20
SAME = "[[echo:same]]"


class House:
    """An engine whose batches are run in the test's own thread, over a model that notes what it is given."""

    def __init__(self, most_bytes: int = PLENTY, budget: int = 1_000) -> None:
        self.model = Recording()
        self.runner = echo("echo", lambda: self.model)
        budgets = Budgets(budget, 60)
        self.inbox = Inbox(budgets, answers=Answers(most_bytes, lambda model, output: self.runner.kept(output)))
        residency = Residency(self._make, unloaded=self.inbox.forget_answers)
        self.engine = Engine(self.inbox, residency, budgets, Watch(), 900, exit=lambda code: None)

    def _make(self, name: str) -> ModelRunner:
        return self.runner

    def ticket(self, job: str = "job") -> Ticket:
        return self.inbox.ticket("echo", 1_000_000, job=job)

    def run(self, meanwhile: Callable[[], None] = lambda: None) -> Batch | None:
        """The next batch, if there is one; `meanwhile`: while it runs."""
        if not len(self.inbox):
            meanwhile()
            return None
        batch = self.inbox.next_batch()
        assert batch is not None
        results = self.engine.execute(batch)
        meanwhile()
        self.inbox.answer(batch, results)
        return batch

    def finish(self) -> None:
        while self.run():
            pass

    @property
    def ran(self) -> list[str]:
        return [text for batch in self.model.batches for text in batch if text != "canary"]


def submit(ticket: Ticket, *texts: str, start: int = 0) -> None:
    ticket.submit([(item_of(text), start + n) for n, text in enumerate(texts)])


def results(ticket: Ticket) -> dict[int, Any]:
    collected = ticket.collect(0)
    found = {waiting.place: waiting.result for waiting in collected}
    assert len(found) == len(collected)
    return dict(sorted(found.items()))


def test_those_that_wait_are_run_once_whoever_they_are_of() -> None:
    house = House()
    one, other = house.ticket("one"), house.ticket("other")
    submit(one, SAME + "a", SAME + "b", SAME + "a")
    submit(other, SAME + "a", SAME + "c")
    house.finish()
    assert sorted(house.ran) == [SAME + "a", SAME + "b", SAME + "c"]
    assert results(one) == {0: SAME + "a", 1: SAME + "b", 2: SAME + "a"}
    assert results(other) == {0: SAME + "a", 1: SAME + "c"}


def test_one_that_comes_while_an_equal_one_runs_rides_with_it() -> None:
    house = House(most_bytes=1)  # nothing is ever kept
    one, late = house.ticket(), house.ticket()
    submit(one, SAME + "a")
    house.run(meanwhile=lambda: submit(late, SAME + "a", SAME + "b"))
    assert results(late) == {0: SAME + "a"}
    house.finish()
    assert results(late) == {1: SAME + "b"}
    assert house.ran == [SAME + "a", SAME + "b"]


def test_one_that_comes_later_has_its_answer_at_once() -> None:
    house = House()
    submit(house.ticket(), SAME + "a")
    house.finish()
    late = house.ticket()
    submit(late, SAME + "a")
    assert results(late) == {0: SAME + "a"}
    assert house.run() is None
    assert late.room


def test_answers_are_counted_back_to_the_credit_of_who_collects_them() -> None:
    house = House()
    ticket = house.inbox.ticket("echo", credit=8)
    submit(ticket, SAME + "a")
    submit(ticket, SAME + "a", start=1)
    assert not ticket.room, "one that rides is in memory as well"
    house.finish()
    assert len(results(ticket)) == 2
    assert ticket.room


@pytest.mark.parametrize(("most_bytes", "texts"), [(0, [SAME + "a"] * 2), (PLENTY, ["a", "a"])])
def test_where_it_is_turned_off_or_the_item_says_no_nothing_is_shared(most_bytes: int, texts: list[str]) -> None:
    house = House(most_bytes)
    ticket = house.ticket()
    submit(ticket, *texts)
    house.run(meanwhile=lambda: submit(ticket, texts[0], start=2))
    house.finish()
    assert house.ran == [texts[0]] * 3
    assert len(results(ticket)) == 3


def test_recent_answers_are_kept_up_to_so_many_bytes_the_last_used_ones() -> None:
    size = ENTRY_BYTES + 2 * len(SAME + "a")
    house = House(most_bytes=2 * size)
    ticket = house.ticket()
    for n, letter in enumerate("abac"):  # b is the one that was not used for longest
        submit(ticket, SAME + letter, start=n)
        house.finish()
    assert house.ran == [SAME + "a", SAME + "b", SAME + "c"]
    submit(ticket, SAME + "a", SAME + "b", start=9)
    house.finish()
    assert house.ran[3:] == [SAME + "b"]
    submit(ticket, SAME + "x" * 2 * size, start=20)
    house.finish()
    submit(ticket, SAME + "b", SAME + "x" * 2 * size, start=30)
    house.finish()
    assert house.ran[4:] == [SAME + "x" * 2 * size] * 2, "too large to be kept, and it drives out nothing"


def test_answers_go_with_the_model() -> None:
    house = House()
    ticket = house.ticket()
    submit(ticket, SAME + "a")
    house.finish()
    house.engine._residency.make_room("another")
    submit(ticket, SAME + "a", start=1)
    house.finish()
    assert house.ran == [SAME + "a"] * 2
    assert len(results(ticket)) == 2


def test_the_riders_of_one_that_fails_are_run_on_their_own() -> None:
    house = House()
    ticket, late = house.ticket(), house.ticket()
    bad = SAME + "[[echo:raise]]"
    submit(ticket, SAME + "a", bad, bad)
    house.run(meanwhile=lambda: submit(late, bad))
    assert [type(result) for result in results(ticket).values()] == [str, ProcessingFailed]
    assert results(late) == {}
    house.finish()
    assert [type(result) for result in (*results(ticket).values(), *results(late).values())] == [ProcessingFailed] * 2


def test_riders_of_a_good_item_in_a_batch_of_a_broken_model_are_run_again() -> None:
    house = House()
    ticket = house.ticket()
    submit(ticket, SAME + "a", SAME + "a", "[[echo:broken]]")
    house.finish()
    verdicts = [type(result) for result in results(ticket).values()]
    assert sorted(kind.__name__ for kind in verdicts) == ["ModelError", "ModelError", "str"]
    assert ModelError in verdicts


def test_a_follower_goes_on_when_its_leader_is_stopped() -> None:
    house = House()
    gone, kept, late = house.ticket(), house.ticket(), house.ticket()
    submit(gone, SAME + "a", SAME + "b")
    submit(kept, SAME + "a")
    gone.stop(LeaseLost())  # while both wait
    house.run()
    assert results(kept) == {0: SAME + "a"}
    again = house.ticket()
    submit(again, SAME + "c")

    def meanwhile() -> None:
        submit(late, SAME + "c")
        again.stop(Draining())

    house.run(meanwhile)
    assert results(late) == {0: SAME + "c"}
    assert house.ran == [SAME + "a", SAME + "c"]


def test_a_rider_that_is_stopped_is_not_run_after_its_leader_fails() -> None:
    house = House()
    bad = SAME + "[[echo:raise]]"
    ticket, gone = house.ticket(), house.ticket()
    submit(ticket, bad)

    def meanwhile() -> None:
        submit(gone, bad)
        gone.stop(LeaseLost())

    house.run(meanwhile)
    assert len(house.inbox) == 0
    assert len(results(ticket)) == 1


def test_a_shard_in_single_file_shares_nothing() -> None:
    house = House()
    house.engine.start()
    together, alone = house.ticket(), house.ticket()
    submit(together, SAME + "a")
    assert len(together.collect(SOON)) == 1
    with house.inbox.single_file(alone):
        submit(alone, SAME + "a", SAME + "a")
        collected: list[Waiting] = []
        while len(collected) < 2:
            collected += alone.collect(SOON)
    assert house.engine.stop(SOON)
    assert house.ran == [SAME + "a"] * 3


# --- any mix --------------------------------------------------------------------------------------------------------

TEXTS = [*(f"{SAME}good {n}" for n in range(4)), "good alone", f"{SAME}[[echo:raise]]", f"{SAME}[[echo:oom]]"]
OUTCOME = {f"{SAME}[[echo:raise]]": ProcessingFailed, f"{SAME}[[echo:oom]]": DeviceOutOfMemory}
TICKETS = 4

steps = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, TICKETS - 1), st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8)),
    st.tuples(st.just("stop"), st.integers(0, TICKETS - 1)),
)
programs = st.lists(st.tuples(st.lists(steps, max_size=4), st.lists(steps, max_size=3)), max_size=12)
"""What happens before a batch, and while it runs."""


class Story:
    """A program as it happens in a house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.tickets = [house.ticket(job=f"job {n % 3}") for n in range(TICKETS)]
        self.submitted: dict[tuple[int, int], str] = {}
        self.stopped: set[int] = set()
        self.found: dict[tuple[int, int], Any] = {}

    def do(self, happens: Sequence[Any]) -> None:
        for what, number, *rest in happens:
            if number in self.stopped:
                continue
            if what == "stop":
                self.stopped.add(number)
                self.tickets[number].stop(LeaseLost())
            else:
                start = len(self.submitted)
                submit(self.tickets[number], *rest[0], start=start)
                self.submitted.update({(number, start + n): text for n, text in enumerate(rest[0])})

    def play(self, program: Sequence[tuple[Any, Any]]) -> None:
        for before, meanwhile in program:
            self.do(before)
            self.house.run(lambda happens=meanwhile: self.do(happens))
        self.house.finish()
        for number, ticket in enumerate(self.tickets):
            if number not in self.stopped:
                self.found.update({(number, place): result for place, result in results(ticket).items()})


@given(programs, st.sampled_from([1, 700, PLENTY]), st.sampled_from([6, 20, 1_000]))
def test_everybody_gets_the_outcome_of_their_own_text(program: Any, most_bytes: int, budget: int) -> None:
    story = Story(House(most_bytes, budget))
    story.play(program)
    expected = {who: OUTCOME.get(text, str) for who, text in story.submitted.items() if who[0] not in story.stopped}
    assert {who: type(result) for who, result in story.found.items()} == expected
    for who, result in story.found.items():
        if isinstance(result, str):
            assert result == story.submitted[who]
    assert len(story.house.inbox) == 0
    if most_bytes == PLENTY and not OUTCOME.keys() & set(story.submitted.values()):
        ran = [text for text in story.house.ran if text.startswith(SAME)]
        assert len(ran) == len(set(ran)), "equal work was done twice"


@given(programs)
@settings(max_examples=50)
def test_sharing_changes_no_outcome(program: Any) -> None:
    stories = [Story(House(most_bytes, budget=20)) for most_bytes in (0, PLENTY)]
    for story in stories:
        story.play(program)
    one, other = ({who: repr(result) for who, result in story.found.items()} for story in stories)
    assert one == other
