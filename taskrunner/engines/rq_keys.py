"""Names and scripts of ours in Redis, and the names of RQ beside them.

    taskrunner:run:NAME    a hash, from the start of a run until it is forgotten: who began it, where, when, its last
                           sign of life, and at the end its outcome, its packed output, and the bytes of that before
    taskrunner:stop:NAME   since when a run is to stop
    taskrunner:engine      a mark that does not survive a FLUSHALL

Each script is executed as a whole, between other commands. All times are milliseconds of Redis' clock, so the
clocks of the machines do not matter.
"""

from rq.defaults import RQ_KEY_PREFIX
from rq.intermediate_queue import IntermediateQueue

RUN, STOP, SERVER_MARK = "taskrunner:run:", "taskrunner:stop:", "taskrunner:engine"
FORMAT = 1  # of the description of a run: it changes where an older worker would get one wrong
LARGEST_OUTPUT = 100_000_000  # bytes that are kept at most: they go through the memory of both machines and of Redis
KEPT = 7 * 24 * 3600  # seconds that Redis keeps a run which nobody asks for
NOBODY = "nobody"  # has begun a run that must not begin any more

NOW = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
"""

# Begin a run, once. KEYS: RQ's record, run, stop. ARGV: a mark of the caller, its host, seconds to keep.
# RQ's record loses its `data` when it is flushed or forgotten, even if a worker that has read it writes to it again.
BEGIN = f"""{NOW}
if redis.call('HSTRLEN', KEYS[1], 'data') == 0 then return {{'forgotten', now}} end
if redis.call('EXISTS', KEYS[3]) == 1 then return {{'stopped', now}} end
redis.call('HSETNX', KEYS[2], 'began', ARGV[1])
if redis.call('HGET', KEYS[2], 'began') ~= ARGV[1] then return {{'begun', now}} end
redis.call('HSET', KEYS[2], 'host', ARGV[2], 'since', now, 'beat', now)
redis.call('HDEL', KEYS[2], 'missed')
redis.call('EXPIRE', KEYS[2], ARGV[3])
return {{'ours', now}}
"""

# A sign of life. KEYS: run, stop. ARGV: the mark, seconds to keep. Answers what the run is to do.
BEAT = f"""{NOW}
if redis.call('HGET', KEYS[1], 'began') ~= ARGV[1] then return 'forgotten' end
redis.call('HSET', KEYS[1], 'beat', now)
redis.call('HDEL', KEYS[1], 'missed')
redis.call('EXPIRE', KEYS[1], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 1 then return 'stop' end
return 'go on'
"""

# Keep an end. KEYS: run. ARGV: the mark, seconds to keep, its outcome, its packed output, the bytes of that before.
END = f"""{NOW}
if redis.call('HGET', KEYS[1], 'began') ~= ARGV[1] then return 'forgotten' end
redis.call('HSET', KEYS[1], 'ended', now, 'outcome', ARGV[3], 'output', ARGV[4], 'size', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 'kept'
"""

# See to it that a run that has not begun never does. KEYS: run. ARGV: NOBODY, seconds to keep. Answers 1 when it worked.
FORBID = """
local won = redis.call('HSETNX', KEYS[1], 'began', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return won
"""

# Let a run wait again that a worker has fetched and not begun. KEYS: run, the fetched ones, queue, RQ's note about it.
# ARGV: its name. Answers 1 when it worked. A worker that was only slow may still begin it: whoever is first does.
PUT_BACK = """
if redis.call('HEXISTS', KEYS[1], 'began') == 1 then return 0 end
if redis.call('LREM', KEYS[2], 0, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[1], 'missed')
redis.call('DEL', KEYS[4])
return 1
"""

# Note that a run gives no sign of life. KEYS: run. ARGV: seconds to keep. Answers for how long, in milliseconds.
MISS = f"""{NOW}
redis.call('HSETNX', KEYS[1], 'missed', now)
redis.call('EXPIRE', KEYS[1], ARGV[1])
return now - (tonumber(redis.call('HGET', KEYS[1], 'missed')) or 0)
"""


def of_rq(name: str, kind: str = "job") -> str:
    """Return the key of something that RQ keeps of a run or of a queue."""
    return f"{RQ_KEY_PREFIX}:{kind}:{name}"


def fetched(queue: str) -> str:
    """Return the key of the names that a worker has fetched from a queue and not begun."""
    return IntermediateQueue.get_intermediate_queue_key(of_rq(queue, "queue"))
