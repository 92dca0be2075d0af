-- reads: prompts, responses, pending, quarantined, sources
-- writes: reconciliation
-- Reconciliation: the rows that move to another table once all sources are read. Of several retrievals
-- of one id the latest counts, the others are quarantined as duplicates. Responses whose prompt is not
-- in the store move to `pending`; pending responses whose prompt is in the store move to `responses`.
-- Only repeated ids are ranked. The small side of each join is written first, because a hash join
-- builds its table from that side.
SET datafusion.optimizer.join_reordering = false;
WITH seen AS (
    SELECT 'prompts' AS table_name, 'prompt' AS kind, prompt_id AS id, source, line, retrieved_at
    FROM prompts
    UNION ALL
    SELECT 'responses', 'response', response_id, source, line, retrieved_at FROM responses
    UNION ALL
    SELECT 'pending', 'response', response_id, source, line, retrieved_at FROM pending
    UNION ALL
    SELECT
        'quarantined',
        CASE WHEN sources.kind = 'submissions' THEN 'prompt' ELSE 'response' END,
        quarantined.id,
        quarantined.source,
        quarantined.line,
        quarantined.retrieved_at
    FROM sources
    JOIN quarantined ON quarantined.source = sources.source
    -- A row of a data set that is quarantined has no retrieval that could supersede another's.
    WHERE quarantined.id IS NOT NULL
        AND quarantined.retrieved_at IS NOT NULL
        AND quarantined.reason <> 'duplicate'
),
-- Grouping by one column is twice as fast as by two, so each kind is counted separately.
repeated_ids AS (
    SELECT 'prompt' AS kind, id
    FROM seen
    WHERE kind = 'prompt'
    GROUP BY id
    HAVING count(*) > 1
    UNION ALL
    SELECT 'response', id
    FROM seen
    WHERE kind = 'response'
    GROUP BY id
    HAVING count(*) > 1
),
ranked AS (
    SELECT
        seen.*,
        row_number() OVER (
            PARTITION BY seen.kind, seen.id
            ORDER BY seen.retrieved_at DESC NULLS LAST, sources.position DESC, seen.line
        ) AS rank
    FROM sources
    JOIN (
        SELECT seen.*
        FROM repeated_ids
        JOIN seen ON repeated_ids.kind = seen.kind AND repeated_ids.id = seen.id
    ) AS seen ON seen.source = sources.source
),
current_prompts AS (
    SELECT prompts.prompt_id AS id
    FROM (SELECT id FROM repeated_ids WHERE kind = 'prompt') AS repeated_ids
    RIGHT ANTI JOIN prompts ON repeated_ids.id = prompts.prompt_id
    UNION ALL
    SELECT id FROM ranked WHERE kind = 'prompt' AND rank = 1 AND table_name = 'prompts'
)
SELECT table_name, source, line, id, 'quarantined' AS destination
FROM ranked
WHERE rank > 1 AND table_name <> 'quarantined'
UNION ALL
SELECT 'responses', source, line, response_id, 'pending'
FROM current_prompts
RIGHT ANTI JOIN responses ON current_prompts.id = responses.prompt_id
UNION ALL
SELECT 'pending', source, line, response_id, 'responses'
FROM current_prompts
RIGHT SEMI JOIN pending ON current_prompts.id = pending.prompt_id
