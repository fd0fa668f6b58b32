"""Say of an answer to an exercise whether it is right: what the assignments use.

`make assignments` writes them; a check holds the tests that students see.
"""

from collections.abc import Callable

__all__ = ["check"]

Test = Callable[[], None]


def check(title: str) -> Callable[[Test], Test]:
    """Run a test of an exercise, and print whether it passes.

    A decorator for a function without arguments that holds assertions. The function runs at once;
    whatever it finds, the notebook goes on.

    Parameters
    ----------
    title : str
        The title of the exercise.

    Examples
    --------
    >>> answer = 3
    >>> @check("One and one")
    ... def test():
    ...     assert answer == 2, f"one and one is not {answer}"
    Not right yet: One and one: one and one is not 3
    >>> @check("Two and two")
    ... def test():
    ...     assert another_answer == 4
    Not ready yet: Two and two (NameError: name 'another_answer' is not defined)
    """

    def run(test: Test) -> Test:
        try:
            test()
        except AssertionError as error:
            reason = str(error).strip()
            print(f"Not right yet: {title}" + (f": {reason}" if reason else ""))
        except Exception as error:
            print(f"Not ready yet: {title} ({type(error).__name__}: {error})")
        else:
            print(f"Right in these cases: {title}")
        return test

    return run
