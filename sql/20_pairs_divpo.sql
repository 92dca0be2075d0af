-- reads: pools, pool_deviations
-- writes: pair_ids
-- Diverse preference optimization (DivPO, Lanchantin et al. 2025): the --max-pairs most deviant responses
-- of a prompt's best pool are chosen, the --max-pairs least deviant of its worst pool are rejected, both
-- by deviation within their pool (over two spaces: the geometric mean of the scaled deviations). Chosen
-- and rejected are joined in a random order by --seed. Pairs that the votes do not order are dropped;
-- 71_card_divpo.sql counts them.
WITH by_response AS (
    SELECT
        prompt_id,
        pool,
        response_id,
        max(deviation) FILTER (WHERE space = 'semantic') AS semantic,
        max(deviation) FILTER (WHERE space = 'style') AS style
    FROM pool_deviations
    GROUP BY prompt_id, pool, response_id
),
weighted AS (
    SELECT
        by_response.prompt_id,
        by_response.pool,
        by_response.response_id,
        pools.score,
        weight(semantic, style) OVER (
            PARTITION BY by_response.prompt_id, by_response.pool ORDER BY by_response.response_id
        ) AS weight
    FROM by_response
    JOIN pools
        ON pools.prompt_id = by_response.prompt_id AND pools.response_id = by_response.response_id
),
ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY prompt_id, pool
            ORDER BY CASE WHEN pool = 'best' THEN -weight ELSE weight END, response_id
        ) AS rank
    FROM weighted
),
shuffled AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY prompt_id, pool ORDER BY md5($seed || ' ' || pool || ' ' || response_id)
        ) AS position
    FROM ranked
    WHERE rank <= $max_pairs
)
SELECT
    chosen.prompt_id,
    chosen.response_id AS chosen_id,
    rejected.response_id AS rejected_id
FROM shuffled AS chosen
JOIN shuffled AS rejected
    ON rejected.prompt_id = chosen.prompt_id AND rejected.position = chosen.position
WHERE chosen.pool = 'best' AND rejected.pool = 'worst' AND chosen.score > rejected.score
ORDER BY prompt_id, chosen_id, rejected_id
