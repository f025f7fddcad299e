"""The SQL of a turn. Only ``turn.py`` uses it, and only under the task's lock.

Each statement does several writes at once where that is safe: the lock was taken
by a statement before, so the snapshot of this one is newer than the lock. What must
see the writes of another statement is a statement of its own.
"""

from functools import cache

START_STEP = """
WITH s AS (
    UPDATE steps SET
        status = 'running',
        claim_id = %(claim_id)s,
        lease_until = clock_timestamp() + %(lease)s,
        attempt_count = attempt_count + 1,
        worker = %(worker)s,
        started_at = COALESCE(started_at, clock_timestamp()),
        request_id = COALESCE(request_id, %(request_id)s)
    WHERE id = %(step)s AND status = 'ready'
    RETURNING id, attempt_count, request_id, GREATEST(ready_at, run_after) AS due_at
)
INSERT INTO attempts (step_id, number, claim_id, request_id, worker, outcome, queued_s,
                      started_at, instance, reason, error_code, error_message, log)
SELECT id, attempt_count, %(claim_id)s, request_id, %(worker)s, 'running',
       GREATEST(0, extract(epoch FROM clock_timestamp() - due_at)),
       clock_timestamp(), '', '', '', '', ''
FROM s
RETURNING number, request_id, started_at, queued_s
"""

# One row when the claim was mine, none when it was lost meanwhile.
END_ATTEMPT = """
WITH mine AS (
    SELECT id, envelope_nano, envelope_tokens FROM steps
    WHERE id = %(step)s AND claim_id = %(claim_id)s AND status = 'running'
), s AS (
    UPDATE steps SET
        status = %(status)s,
        claim_id = NULL,
        lease_until = NULL,
        run_after = clock_timestamp() + %(delay)s,
        ready_at = CASE WHEN %(is_final)s THEN ready_at ELSE clock_timestamp() END,
        finished_at = CASE WHEN %(is_final)s THEN clock_timestamp() END,
        request_id = CASE WHEN %(keeps_request)s THEN request_id END,
        attempt_count = attempt_count - %(uncounted)s,
        envelope_nano = CASE WHEN %(is_final)s THEN 0 ELSE steps.envelope_nano END,
        envelope_tokens = CASE WHEN %(is_final)s THEN 0 ELSE steps.envelope_tokens END,
        output = %(output)s,
        evidence = %(evidence)s,
        confidence = %(confidence)s,
        confidence_reason = %(confidence_reason)s,
        taint = %(taint)s,
        error = %(error)s
    FROM mine WHERE steps.id = mine.id
), a AS (
    UPDATE attempts SET
        outcome = %(outcome)s,
        finished_at = clock_timestamp(),
        instance = COALESCE(NULLIF(%(instance)s, ''), attempts.instance),
        reason = COALESCE(NULLIF(%(reason)s, ''), attempts.reason),
        error_code = %(error_code)s,
        error_message = %(error_message)s,
        log = %(log)s
    FROM mine WHERE attempts.claim_id = %(claim_id)s
)
SELECT envelope_nano, envelope_tokens FROM mine
"""

# A work step turns ready when all it depends on is done; the judge when no work
# step is open any more.
# The rank is how many steps of the owner come before it: those that run, and of those
# that are ready all up to a bound where the task has not begun. One that has begun goes
# before those, or an owner's many tasks would all begin before any of them ends; a
# single ready one still counts, so that an owner who has no other goes first.
# What the task's first steps waited for so long that they counted as more urgent, its
# later ones need not wait for again.
READY_STEPS = """
UPDATE steps c SET
    status = 'ready',
    ready_at = clock_timestamp(),
    run_after = clock_timestamp(),
    priority_rank = (SELECT min(priority_rank) FROM steps WHERE task_id = %(task)s),
    owner_rank = (
        SELECT count(*) FROM steps o
        WHERE o.owner_id = c.owner_id AND o.status = 'running'
    ) + (
        SELECT count(*) FROM (
            SELECT 1 FROM steps o
            WHERE o.owner_id = c.owner_id AND o.status = 'ready' AND o.queue = c.queue
            LIMIT CASE WHEN %(has_begun)s THEN 1 ELSE 1000 END
        ) ready_steps
    )
WHERE c.task_id = %(task)s AND c.status = 'waiting' AND CASE c.kind
    WHEN 'judge' THEN NOT EXISTS (
        SELECT 1 FROM steps p WHERE p.task_id = c.task_id AND p.kind = 'work'
        AND p.status IN ('waiting', 'ready', 'running'))
    ELSE NOT EXISTS (
        SELECT 1 FROM steps p WHERE p.task_id = c.task_id
        AND p.step_id = ANY(c.depends_on) AND p.status <> 'done')
    END
RETURNING c.step_id
"""

# Who waits for budget asks again now, and not when the pause is over.
WAKE = """
UPDATE steps SET run_after = clock_timestamp()
WHERE id = ANY(%(steps)s) AND status = 'ready' AND run_after > clock_timestamp()
RETURNING queue
"""

# Again and again until nothing changes: what depends on a step that will not be
# done will not be done either.
SKIP_STEPS = """
WITH RECURSIVE lost AS (
    SELECT step_id FROM steps
    WHERE task_id = %(task)s AND status IN ('failed', 'dead', 'skipped')
    UNION
    SELECT c.step_id FROM steps c JOIN lost ON lost.step_id = ANY(c.depends_on)
    WHERE c.task_id = %(task)s AND c.status = 'waiting' AND c.kind = 'work'
), skipped AS (
    UPDATE steps SET status = 'skipped', finished_at = clock_timestamp(),
                     envelope_nano = 0, envelope_tokens = 0
    FROM (SELECT id, envelope_nano, envelope_tokens FROM steps
          WHERE task_id = %(task)s AND status = 'waiting' AND kind = 'work'
          AND step_id IN (SELECT step_id FROM lost)) old
    WHERE steps.id = old.id
    RETURNING steps.step_id, old.envelope_nano AS nano, old.envelope_tokens AS tokens
)
SELECT step_id, nano, tokens FROM skipped ORDER BY step_id
"""

# What is open when a task ends. Its envelopes go back; held charges stay held until
# their calls settle.
CANCEL_STEPS = """
WITH old AS (
    SELECT id, claim_id, envelope_nano, envelope_tokens FROM steps
    WHERE task_id = %(task)s AND status = ANY(%(sources)s)
), s AS (
    UPDATE steps SET status = 'cancelled', claim_id = NULL, lease_until = NULL,
                     finished_at = clock_timestamp(),
                     envelope_nano = 0, envelope_tokens = 0
    FROM old WHERE steps.id = old.id
    RETURNING steps.step_id
), a AS (
    UPDATE attempts SET outcome = 'cancelled', finished_at = clock_timestamp()
    FROM old WHERE attempts.claim_id = old.claim_id
)
SELECT array_agg(s.step_id ORDER BY s.step_id),
       (SELECT COALESCE(sum(envelope_nano), 0) FROM old),
       (SELECT COALESCE(sum(envelope_tokens), 0) FROM old),
       (SELECT array_agg(claim_id) FROM old WHERE claim_id IS NOT NULL)
FROM s
"""

# What the next plan version does without; the caller refuses if something runs.
SUPERSEDE_STEPS = """
WITH old AS (
    SELECT id, envelope_nano, envelope_tokens FROM steps
    WHERE task_id = %(task)s AND kind <> 'plan' AND status = ANY(%(sources)s)
    AND id <> ALL(%(kept)s)
), s AS (
    UPDATE steps SET status = 'superseded', envelope_nano = 0, envelope_tokens = 0
    FROM old WHERE steps.id = old.id
    RETURNING steps.step_id
)
SELECT array_agg(s.step_id ORDER BY s.step_id),
       (SELECT COALESCE(sum(envelope_nano), 0) FROM old),
       (SELECT COALESCE(sum(envelope_tokens), 0) FROM old)
FROM s
"""

# A new run takes steps up again that ended without an output. A request whose outcome
# nobody knows keeps its id, so that its arm can answer from its store.
REOPEN_STEPS = """
UPDATE steps SET status = 'waiting', attempt_count = 0, error = NULL,
                 finished_at = NULL, run_after = clock_timestamp(),
                 envelope_nano = held.nano, envelope_tokens = held.tokens
FROM (SELECT unnest(%(ids)s::uuid[]) AS id, unnest(%(nanos)s::bigint[]) AS nano,
             unnest(%(tokens)s::bigint[]) AS tokens) held
WHERE steps.id = held.id AND steps.task_id = %(task)s
AND steps.status = ANY(%(sources)s)
RETURNING steps.step_id, held.nano, held.tokens
"""

# A record that came after its claim was lost: refused, and noted where it belongs.
NOTE_LATE = """
UPDATE attempts SET late_at = COALESCE(late_at, clock_timestamp())
WHERE claim_id = %(claim_id)s AND outcome <> 'running'
"""

END_ORPHANS = """
UPDATE attempts SET outcome = 'lost', finished_at = clock_timestamp()
FROM steps s
WHERE s.id = attempts.step_id AND s.task_id = %(task)s
AND attempts.outcome = ANY(%(sources)s)
AND s.claim_id IS DISTINCT FROM attempts.claim_id
"""

# What the rows of a task say is held and spent: nano-dollars and tokens of each.
SUMS = """
SELECT e.nano + c.nano, e.tokens + c.tokens, c.spent_nano, c.spent_tokens FROM (
    SELECT COALESCE(sum(envelope_nano), 0) AS nano,
           COALESCE(sum(envelope_tokens), 0) AS tokens
    FROM steps WHERE task_id = %(task)s
) e, (
    SELECT COALESCE(sum(held_nano) FILTER (WHERE state = 'held'), 0) AS nano,
           COALESCE(sum(held_tokens) FILTER (WHERE state = 'held'), 0) AS tokens,
           COALESCE(sum(settled_nano), 0) AS spent_nano,
           COALESCE(sum(input_tokens + output_tokens), 0) AS spent_tokens
    FROM charges WHERE task_id = %(task)s
) c
"""

_FLUSH = """
WITH e AS (
    INSERT INTO task_events (task_id, seq, type, at, data, mac)
    SELECT %(task)s, * FROM unnest(
        %(seqs)s::int[], %(types)s::text[], %(ats)s::timestamptz[],
        %(datas)s::text[]::jsonb[], %(macs)s::text[])
)
UPDATE tasks SET {assignments}, updated_at = clock_timestamp() WHERE id = %(task)s
"""


@cache
def flush(columns: tuple[str, ...]) -> str:
    """Return the statement that writes events and these columns of the task."""
    # Column names come from the code of turns, never from outside.
    return _FLUSH.format(
        assignments=", ".join(f"{name} = %({name})s" for name in columns)
    )
