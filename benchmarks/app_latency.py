"""How long the app takes to answer one person, and several at once.

    python -m benchmarks.app_latency --index outputs/index --model outputs/page_model --users 1 10

The app runs in a process of its own. Each user does a round again and again, without a pause: search by words, open a page
that was found, choose another of its panels, ask what comes next, guess, and find pages like that one. Times are those
until the whole answer is there, with the pictures in it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from statistics import median

import httpx

API = "/gradio_api"
WORDS = "the you what night hello look it's don't door rain my house run help crown gone".split()


def main() -> None:
    """Starts the app and measures it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True)
    parser.add_argument("--model")
    parser.add_argument("--pages")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=10, help="of each user")
    parser.add_argument("--way", choices=("both", "lettering"), default="both", help="what words are compared with")
    parser.add_argument("--port", type=int, default=7861)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "modeling_comicseq.cli", "app", "--index", arguments.index]
    command += ["--port", str(arguments.port)]
    for name in ("model", "pages"):
        command += [f"--{name}", getattr(arguments, name)] if getattr(arguments, name) else []
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        begun = time.perf_counter()
        if not running.stdout or not running.stdout.readline().startswith("The app is at"):
            raise SystemExit("The app has not started.")
        print(f"started in {time.perf_counter() - begun:.1f} s")
        address = f"http://127.0.0.1:{arguments.port}"
        ask_round(address, arguments.way, random.Random(0), defaultdict(list))  # encoders and models are loaded
        for users in arguments.users:
            measure(address, users, arguments.rounds, arguments.way)
    finally:
        running.terminate()
        running.wait()


def measure(address: str, users: int, rounds: int, way: str) -> None:
    """Prints the times of so many users at once."""
    times: dict[str, list[float]] = defaultdict(list)
    faults: list[str] = []

    def use(number: int) -> None:
        draws = random.Random(number)
        try:
            for _ in range(rounds):
                ask_round(address, way, draws, times)
        except Exception as error:
            faults.append(str(error))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(users)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    answers = sum(map(len, times.values()))
    print(f"\n{users} at once: {answers} answers in {took:.1f} s, {answers / took:.1f} a second, {len(faults)} faults")
    print("| what | median | 95 % within | slowest |\n|---|---|---|---|")
    for what, values in times.items():
        ordered = sorted(values)
        late = ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)]
        print(f"| {what} | {1000 * median(ordered):.0f} ms | {1000 * late:.0f} ms | {1000 * ordered[-1]:.0f} ms |")
    if faults:
        print("first fault:", faults[0])


def ask_round(address: str, way: str, draws: random.Random, times: dict[str, list[float]]) -> None:
    """One round of a user."""
    with httpx.Client(timeout=300, limits=httpx.Limits(max_keepalive_connections=0)) as client:

        def ask(what: str, name: str, *values: object) -> str:
            begun = time.perf_counter()
            event = client.post(f"{address}{API}/call/{name}", json={"data": values}).json()["event_id"]
            told = client.get(f"{address}{API}/call/{name}/{event}").text
            times[what].append(time.perf_counter() - begun)
            answer = str(json.loads(told.strip().rsplit("data: ", 1)[1])[-1])
            if "cs-fault" in answer:
                raise RuntimeError(re.sub("<[^>]+>", "", answer))
            return answer

        words = " ".join(draws.sample(WORDS, 3))
        found = ask("search by words", "search", words, "", "", "strip", way, "", False)
        pages = re.findall(r'data-do="open" data-page="([^"]+)"', found)
        if not pages:
            return
        page = draws.choice(pages)
        shown = ask("open a page", "page", page)
        panels = len(set(re.findall(r'data-panel="(\d+)"', shown.partition("Nearest")[0])))
        if panels > 1:
            ask("ask what comes next", "ask", "next", page, str(panels))
            ask("answer a question", "answer", "next", page, str(panels), "1")
        ask("find pages like one", "search", "", "", page, "strip", way, "", False)


if __name__ == "__main__":
    main()
