"""The parts of the benchmarks that measure nothing."""

import pytest

from benchmarks import wrk

PRINTED = """Running 4s test @ http://127.0.0.1:8000/api/auth/me
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.51ms    2.12ms  31.44ms   88.12%
    Req/Sec     1.24k   102.33     1.42k    75.00%
  Latency Distribution
     50%    6.11ms
     99%   15.20ms
  4949 requests in 4.01s, 3.31MB read
"""


def test_what_wrk_prints_is_read():
    heard = wrk.read(PRINTED)
    assert (heard.answers, heard.failures, heard.p99, heard.seconds) == (4949, 0, 15.2, 4.01)
    slow = PRINTED.replace("15.20ms", "1.20s").replace("4.01s,", "1.00m,")
    slow += "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 90\n"
    heard = wrk.read(slow)
    assert (heard.failures, heard.p99, heard.seconds) == (100, 1200.0, 60.0)
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.read("unable to connect to 127.0.0.1:1")
