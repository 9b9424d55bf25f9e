"""The figures of a run, summed up by the database: what comes back is small, however long the run is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from stacyard.ingestor.ledger import Run, State, count
from stacyard.ingestor.reports.data import (
    ReasonGroup,
    RuleCount,
    RunReport,
    SlowTask,
    Stage,
    course,
    point_width,
    without_secrets,
)
from stacyard.ingestor.session import Connection, Session

# far more than a run of ours has of either; it bounds what a ledger that others wrote to can make us read
_MOST_NAMES = 100
_MOST_REASONS = 50
_SLOWEST = 10

_SNAPSHOT: LiteralString = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_TOTALS: LiteralString = """
SELECT now(), max(changed_at) FILTER (WHERE state IN ('loaded', 'rejected', 'failed')), count(*),
    count(*) FILTER (WHERE report ? 'seconds'), count(*) FILTER (WHERE attempts > 1),
    coalesce(sum((report ->> 'bytes_in')::numeric), 0)::bigint,
    coalesce(sum((report ->> 'bytes_out')::numeric), 0)::bigint
FROM stacyard.ingest_task WHERE run_id = %(run)s
"""

_STAGES: LiteralString = """
SELECT stage.key, count(*), sum(stage.value::float8),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY stage.value::float8), max(stage.value::float8)
FROM stacyard.ingest_task AS task, jsonb_each_text(task.report -> 'seconds') AS stage
WHERE task.run_id = %(run)s
GROUP BY stage.key ORDER BY 3 DESC, 1 LIMIT %(limit)s
"""

_RULES: LiteralString = """
SELECT verdict ->> 'rule', count(*) FILTER (WHERE passed), count(*) FILTER (WHERE NOT passed AND warns),
    count(*) FILTER (WHERE NOT passed AND NOT warns)
FROM stacyard.ingest_task AS task, jsonb_array_elements(task.report -> 'verdicts') AS verdict,
    LATERAL (SELECT (verdict ->> 'passed')::boolean AS passed, verdict ->> 'severity' = 'warn' AS warns) AS result
WHERE task.run_id = %(run)s AND verdict ? 'rule'
GROUP BY 1 ORDER BY 4 DESC, 3 DESC, 1 LIMIT %(limit)s
"""

_FEATURES: LiteralString = """
SELECT number.key, sum(number.value::numeric)::bigint
FROM stacyard.ingest_task AS task, jsonb_each(task.report -> 'layer') AS number
WHERE task.run_id = %(run)s AND jsonb_typeof(number.value) = 'number'
GROUP BY number.key ORDER BY min(task.id), number.key LIMIT %(limit)s
"""

# an id of a letter or two would be found in the middle of words
_REASONS: LiteralString = r"""
WITH told AS (
    SELECT id, state, items,
        CASE WHEN length(item_id) > 3 THEN replace(left(reason, 1000), item_id, '…') ELSE left(reason, 1000) END AS text
    FROM stacyard.ingest_task WHERE run_id = %(run)s AND state IN ('rejected', 'failed')
), alike AS (
    SELECT left(regexp_replace(
            regexp_replace(text, '(^|[\s''"(=])(?:\w+:/)?/\S*[^\s,;:.''")]', '\1…', 'g'),
            '\y\d+(?:[.,:]\d+)*\y', '…', 'g'
        ), 300) AS pattern,
        state, sum(items)::bigint AS items, min(id) AS first
    FROM told GROUP BY pattern, state
)
SELECT count(*) OVER (), alike.pattern, alike.state::text, alike.items, task.item_id, left(task.reason, 1000)
FROM alike JOIN stacyard.ingest_task AS task ON task.id = alike.first
ORDER BY alike.items DESC, alike.first LIMIT %(limit)s
"""

_SLOW: LiteralString = """
SELECT task.item_id, task.state::text, task.items, took.seconds, task.report -> 'seconds'
FROM stacyard.ingest_task AS task,
    LATERAL (SELECT sum(value::float8) AS seconds FROM jsonb_each_text(task.report -> 'seconds')) AS took
WHERE task.run_id = %(run)s AND took.seconds IS NOT NULL
ORDER BY took.seconds DESC, task.id LIMIT %(limit)s
"""

_POINTS: LiteralString = """
SELECT floor(greatest(extract(epoch FROM changed_at - %(started)s), 0) / %(width)s)::integer,
    coalesce(sum(items) FILTER (WHERE state = 'loaded'), 0), sum(unchanged),
    coalesce(sum(items) FILTER (WHERE state = 'rejected'), 0), coalesce(sum(items) FILTER (WHERE state = 'failed'), 0)
FROM stacyard.ingest_task
WHERE run_id = %(run)s AND state IN ('loaded', 'rejected', 'failed')
GROUP BY 1 ORDER BY 1
"""


def read_report(session: Session, run: Run) -> RunReport:
    """The figures of a run, all from one snapshot of the ledger, so that they add up while it goes on."""

    def read(connection: Connection) -> RunReport:
        with connection.transaction():
            connection.execute(_SNAPSHOT)
            return _read(connection, run)

    return session.run(read)


def _read(connection: Connection, run: Run) -> RunReport:
    def rows(statement: LiteralString, **parameters: Any) -> Sequence[tuple[Any, ...]]:
        return connection.execute(statement, {"run": run.id, **parameters}).fetchall()

    [(read_at, last_change, tasks, measured, retried, bytes_in, bytes_out)] = rows(_TOTALS)
    width = point_width((last_change - run.started_at).total_seconds() if last_change else 0.0)
    names = ("loaded", "unchanged", "rejected", "failed")
    points = {
        place: dict(zip(names, numbers, strict=True))
        for place, *numbers in rows(_POINTS, started=run.started_at, width=width)
    }
    reasons = rows(_REASONS, limit=_MOST_REASONS)
    return RunReport(
        run=run,
        counts=count(connection, run.id),
        read_at=read_at,
        last_change=last_change,
        tasks=tasks,
        measured=measured,
        retried=retried,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        stages=[
            Stage(name=name, tasks=number, seconds=round(total, 4), p95=p95, longest=longest)
            for name, number, total, p95, longest in rows(_STAGES, limit=_MOST_NAMES)
        ],
        rules=[
            RuleCount(rule=rule, passed=passed, warned=warned, rejected=rejected)
            for rule, passed, warned, rejected in rows(_RULES, limit=_MOST_NAMES)
        ],
        features=dict(rows(_FEATURES, limit=_MOST_NAMES)),
        reason_groups=reasons[0][0] if reasons else 0,
        reasons=[
            ReasonGroup(
                pattern=without_secrets(pattern),
                state=State(state),
                items=items,
                example_item=item,
                example=without_secrets(example),
            )
            for _, pattern, state, items, item, example in reasons
        ],
        slowest=[
            SlowTask(item=item, state=State(state), items=items, seconds=round(total, 4), stages=stages)
            for item, state, items, total, stages in rows(_SLOW, limit=_SLOWEST)
        ],
        point_seconds=width,
        points=course(run.started_at, width, points),
    )
