"""Engines on other machines: the only modules that know RQ and Redis.

    rq             performs a run, on the machine of an RQ worker
    rq_queue       hands runs over, looks after them and fetches their ends
    rq_keys        the names and the scripts that both use in Redis
    rq_standing    tells how a run stands from what Redis has of it
    rq_contents    the contents of a whole queue

Nothing imports them but for a run in a queue, the contents of one, or `doctor` and the health page, when the settings
have queues. They must not know the store.
"""
