"""What `make bench` asks, a module each: which sides there are, and how one round of each goes."""

from benchmarks.questions import entities, generation, queue, system
from benchmarks.questions.question import Question

QUESTIONS: dict[str, Question] = {
    question.name: question
    for question in (*generation.QUESTIONS, *entities.QUESTIONS, *system.QUESTIONS, *queue.QUESTIONS)
}
"""By name, in the order in which they are asked."""
