"""Generation speed compared with KerasHub, Hugging Face and CTranslate2, with the same weights.

    python benchmarks/decoding.py --write docs/benchmarks.md

Each system runs in a separate process, one at a time. All of them get the random weights of one
Hugging Face model, and the tokens of greedy decoding are compared. Times are medians after a first
call, which compiles and is listed separately. With `--rounds`, all systems take turns this many
times and the median of each is listed, for machines whose speed drifts.

"Bare products" are the matrix products of one step and nothing else, with the weights read from
memory as in a step: a lower bound for any program on that backend.
"""

from __future__ import annotations

import argparse
import os
import statistics

from decoding_common import THREADS
from decoding_gpt import COST_RUNS, GPT_RUNS, cost_chart, gpt_table, measure_cost, measure_gpt
from decoding_translation import TRANSLATION_RUNS, measure_translation, translation_table
from page import machine, shown_options, write_section
from processes import print_result, result_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TITLE = "Decoding: tokens per second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=("gpt", "translation", "cost"), help="run only this case")
    parser.add_argument("--only", help="run only systems whose name contains this")
    parser.add_argument("--backends", nargs="+", help="run only systems on these backends")
    parser.add_argument("--title", default=TITLE, help="title of the section")
    parser.add_argument("--rounds", type=int, default=1, help="how often all systems take turns")
    parser.add_argument("--write", help="Markdown file to write the tables to")
    parser.add_argument("--run", help="run one system, print JSON")
    arguments = parser.parse_args()
    if arguments.run:
        case, system, backend, number = arguments.run.split(",")
        if backend != "none":
            os.environ["KERAS_BACKEND"] = backend
        measure = {"gpt": measure_gpt, "translation": measure_translation, "cost": measure_cost}[
            case
        ]
        print_result(measure(system, int(number)))
        return
    sections = []
    for case, runs, table in (
        ("gpt", GPT_RUNS, gpt_table),
        ("translation", TRANSLATION_RUNS, translation_table),
        ("cost", COST_RUNS, cost_chart),
    ):
        if arguments.case in (None, case):
            chosen = [
                run
                for run in runs
                if (not arguments.only or arguments.only in run)
                and (not arguments.backends or run[1] in arguments.backends)
            ]
            # The cost is compared between lengths of one system, not between systems.
            num_rounds = 1 if case == "cost" else arguments.rounds
            rounds = [
                {run: run_in_process(case, *run) for run in chosen} for _ in range(num_rounds)
            ]
            sections.append(table(median_of(rounds)))
    options = shown_options(arguments, case=None, backends=None, title=TITLE, rounds=1)
    command = f"python benchmarks/decoding.py{options} --write docs/benchmarks.md"
    body = f"```bash\n{command}\n```\n\n"
    body += "\n\n".join(sections) + f"\n\n{machine()}\n"
    print(body)
    if arguments.write:
        write_section(arguments.write, arguments.title, body)


def run_in_process(case, system, backend, number) -> dict:
    """Runs one system in its own process and returns its results."""
    print(f"{case}: {system} on {backend}, {number} ...", flush=True)
    result = result_of(
        __file__, "--run", f"{case},{system},{backend},{number}", OMP_NUM_THREADS=str(THREADS)
    )
    shown = {key: value for key, value in result.items() if key != "tokens"}
    print(f"  {shown}", flush=True)
    return result


def median_of(rounds) -> dict:
    """The median of each result over the rounds; tokens are those of the first round."""
    return {
        run: {
            key: value
            if key == "tokens"
            else statistics.median(results[run][key] for results in rounds)
            for key, value in rounds[0][run].items()
        }
        for run in rounds[0]
    }


if __name__ == "__main__":
    main()
