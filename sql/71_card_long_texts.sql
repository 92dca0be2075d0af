-- reads: scored_responses, vectors
-- writes: card
-- The length of the texts whose deviation is computed, in tokens of a space's embedder, in the columns of
-- 70_card.sql. The program itself reads every row. Texts without counts (embedded by an older version) are left
-- out.
WITH texts AS (
    SELECT DISTINCT text_hash FROM scored_responses
),
counted AS (
    SELECT vectors.tokens, vectors.tokens_seen, vectors.windows
    FROM texts
    JOIN vectors ON vectors.text_hash = texts.text_hash
    WHERE vectors.model = $model AND vectors.revision = $revision AND vectors.tokens IS NOT NULL
),
rows AS (
    SELECT 0 AS position, 'texts' AS name, 'texts' AS label, CAST(count(*) AS DOUBLE) AS value
    FROM counted
    UNION ALL
    SELECT 1, 'tokens', 'tokens', coalesce(sum(tokens), 0) FROM counted
    UNION ALL
    SELECT
        2,
        'truncated',
        'truncated texts',
        count(*)
    FROM counted WHERE tokens_seen < tokens
    UNION ALL
    SELECT
        3,
        'truncated_tokens',
        'tokens of truncated texts',
        coalesce(sum(tokens), 0)
    FROM counted WHERE tokens_seen < tokens
    UNION ALL
    SELECT
        4,
        'truncated_tokens_seen',
        'tokens of truncated texts that the embedder saw',
        coalesce(sum(tokens_seen), 0)
    FROM counted WHERE tokens_seen < tokens
    UNION ALL
    SELECT
        5,
        'averaged',
        'texts whose vector is the mean of windows',
        count(*)
    FROM counted WHERE windows > 1
)
SELECT name, 'length of texts, ' || $space AS section, label, value
FROM rows
ORDER BY position
