-- reads: prompts, responses, pending, refused, sources
-- writes: moves
-- What has to change its place once all sources are in: of several retrievals of one id the latest
-- counts (the others become duplicates); responses whose prompt has gone wait in `pending`; those
-- that waited and whose prompt has come become responses. Only ids that stand twice are ranked.
-- Joins hold the side that is written first, which is the small one.
SET datafusion.optimizer.join_reordering = false;
WITH seen AS (
    SELECT 'prompts' AS place, 'prompt' AS kind, prompt_id AS id, source, line, retrieved_at
    FROM prompts
    UNION ALL
    SELECT 'responses', 'response', response_id, source, line, retrieved_at FROM responses
    UNION ALL
    SELECT 'pending', 'response', response_id, source, line, retrieved_at FROM pending
    UNION ALL
    SELECT
        'refused',
        CASE WHEN sources.kind = 'submissions' THEN 'prompt' ELSE 'response' END,
        refused.id,
        refused.source,
        refused.line,
        refused.retrieved_at
    FROM sources
    JOIN refused ON refused.source = sources.name
    -- A row of a data set that is refused has no retrieval that could supersede another's.
    WHERE refused.id IS NOT NULL
        AND refused.retrieved_at IS NOT NULL
        AND refused.reason <> 'duplicate'
),
-- One key is grouped twice as fast as two, so each kind is counted for itself.
twice AS (
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
        SELECT seen.* FROM twice JOIN seen ON twice.kind = seen.kind AND twice.id = seen.id
    ) AS seen ON seen.source = sources.name
),
standing AS (
    SELECT prompts.prompt_id AS id
    FROM (SELECT id FROM twice WHERE kind = 'prompt') AS twice
    RIGHT ANTI JOIN prompts ON twice.id = prompts.prompt_id
    UNION ALL
    SELECT id FROM ranked WHERE kind = 'prompt' AND rank = 1 AND place = 'prompts'
)
SELECT place, source, line, id, 'refused' AS goes_to
FROM ranked
WHERE rank > 1 AND place <> 'refused'
UNION ALL
SELECT 'responses', source, line, response_id, 'pending'
FROM standing
RIGHT ANTI JOIN responses ON standing.id = responses.prompt_id
UNION ALL
SELECT 'pending', source, line, response_id, 'responses'
FROM standing
RIGHT SEMI JOIN pending ON standing.id = pending.prompt_id
