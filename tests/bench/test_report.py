"""The report says what was measured and no more: verdicts, marks and warnings."""

from bench.report import document, table


def _row(results: dict[str, dict[str, float]], title: str) -> list[str]:
    line = next(line for line in table(results).splitlines() if title in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_verdict_names_the_server_that_missed() -> None:
    results = {"daphne": {"requests": 600.0}, "uvicorn": {"requests": 800.0}}
    assert _row(results, "requests/s")[-1] == "missed: Daphne"
    assert _row(results | {"daphne": {"requests": 700.0}}, "requests/s")[-1] == "met"


def test_a_server_without_a_figure_is_not_passed_over() -> None:
    results = {"relay": {"frame_cpu": 20.0}, "daphne": {"threads": 9.0}, "uvicorn": {"frame_cpu": 39.0}}
    assert _row(results, "CPU a frame")[-1] == "not measured: Daphne"


def test_multiples_of_the_relay_need_a_relay() -> None:
    results = {"uvicorn": {"frame_cpu": 39.0}}
    assert _row(results, "CPU a frame")[-1] == "not measured: uvicorn"
    assert _row(results | {"relay": {"frame_cpu": 19.0}}, "CPU a frame")[-1] == "missed: uvicorn"


def test_added_time_is_less_the_mocks_own_and_near_its_ceiling_is_marked() -> None:
    results = {"mock": {"ttft_p50": 0.5, "requests": 1000.0}, "uvicorn": {"ttft_p50": 1.75, "requests": 900.0}}
    assert _row(results, "first token, p50")[3] == "1.25"
    assert _row(results, "requests/s")[3] == "900 mock-bound"


def test_a_run_that_was_not_alone_says_so_first() -> None:
    results = {"uvicorn": {"requests": 800.0}}
    quiet = document(results, machine="m", settings="s", others=0.01, notes=[])
    noisy = document(results, machine="m", settings="s", others=0.4, notes=["Daphne did not start"])
    assert "Not a fair run" not in quiet
    assert noisy.index("40% of the machine") < noisy.index("| measure")
    assert "* Daphne did not start" in noisy
