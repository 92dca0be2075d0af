-- reads: scored_responses, candidates
-- writes: pools
-- The pools of DivPO: of a prompt's scored responses the best and the worst by votes, in each
-- greatest(--max-pairs, --rho of them), and at most half of them, so that no response is in both. Ties of
-- votes are ordered by --seed.
WITH ranked AS (
    SELECT
        scored_responses.prompt_id,
        scored_responses.response_id,
        scored_responses.text_hash,
        candidates.score,
        count(*) OVER (PARTITION BY scored_responses.prompt_id) AS n,
        row_number() OVER (
            PARTITION BY scored_responses.prompt_id
            ORDER BY candidates.score DESC, md5($seed || ' ' || scored_responses.response_id)
        ) AS rank
    FROM scored_responses
    JOIN candidates
        ON candidates.prompt_id = scored_responses.prompt_id
        AND candidates.response_id = scored_responses.response_id
),
sized AS (
    SELECT *, least(greatest($max_pairs, CAST(floor($rho * n) AS BIGINT)), n / 2) AS size
    FROM ranked
)
SELECT
    prompt_id,
    response_id,
    text_hash,
    score,
    CASE WHEN rank <= size THEN 'best' ELSE 'worst' END AS pool
FROM sized
WHERE rank <= size OR rank > n - size
ORDER BY prompt_id, pool, response_id
