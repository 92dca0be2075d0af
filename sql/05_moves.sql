-- reads: prompts, responses, pending, refused, sources
-- writes: moves
-- What has to change its place once all sources are in: of several retrievals of one id the latest
-- counts (the others become duplicates); responses whose prompt has gone wait in `pending`; those
-- that waited and whose prompt has come become responses. Only ids that stand twice are ranked.
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
    FROM refused
    JOIN sources ON refused.source = sources.name
    -- A row of a data set that is refused has no retrieval that could supersede another's.
    WHERE refused.id IS NOT NULL
        AND refused.retrieved_at IS NOT NULL
        AND refused.reason <> 'duplicate'
),
twice AS (
    SELECT kind, id FROM seen GROUP BY kind, id HAVING count(*) > 1
),
ranked AS (
    SELECT
        seen.*,
        row_number() OVER (
            PARTITION BY seen.kind, seen.id
            ORDER BY seen.retrieved_at DESC NULLS LAST, sources.position DESC, seen.line
        ) AS rank
    FROM seen
    JOIN twice ON twice.kind = seen.kind AND twice.id = seen.id
    JOIN sources ON seen.source = sources.name
),
standing AS (
    SELECT prompt_id AS id
    FROM prompts
    WHERE prompt_id NOT IN (SELECT id FROM twice WHERE kind = 'prompt')
    UNION ALL
    SELECT id FROM ranked WHERE kind = 'prompt' AND rank = 1 AND place = 'prompts'
)
SELECT place, source, line, id, 'refused' AS goes_to
FROM ranked
WHERE rank > 1 AND place <> 'refused'
UNION ALL
SELECT 'responses', source, line, response_id, 'pending'
FROM responses
WHERE prompt_id NOT IN (SELECT id FROM standing)
UNION ALL
SELECT 'pending', source, line, response_id, 'responses'
FROM pending
WHERE prompt_id IN (SELECT id FROM standing)
