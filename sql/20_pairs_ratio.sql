-- reads: candidates
-- writes: pair_ids
-- Pairs by vote ratio, as in SHP and LitBench: the chosen response has at least --ratio times the votes
-- and (unless --ignore-time-order) was posted later, so that it did not win by being first. With
-- --balance-length the chosen response is longer in as many pairs as it is shorter, in every bin of 50
-- words of difference.
WITH pairs AS (
    SELECT
        chosen.prompt_id,
        chosen.response_id AS chosen_id,
        rejected.response_id AS rejected_id,
        chosen.words > rejected.words AS longer,
        abs(chosen.words - rejected.words) / 50 AS bin,
        md5($seed || ' ' || chosen.response_id || ' ' || rejected.response_id) AS draw
    FROM candidates AS chosen
    JOIN candidates AS rejected
        ON rejected.prompt_id = chosen.prompt_id
        AND chosen.score > rejected.score
        AND chosen.score >= $ratio * rejected.score
    WHERE chosen.excluded IS NULL
        AND rejected.excluded IS NULL
        AND ($ignore_time_order OR chosen.created_at > rejected.created_at)
),
capped AS (
    SELECT *
    FROM (
        SELECT *, row_number() OVER (PARTITION BY prompt_id ORDER BY draw) AS rank_in_prompt
        FROM pairs
    ) AS counted
    WHERE rank_in_prompt <= $max_pairs
),
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY bin, longer ORDER BY draw) AS rank_in_bin,
        sum(CASE WHEN longer THEN 1 ELSE 0 END) OVER (PARTITION BY bin) AS longer_in_bin,
        sum(CASE WHEN longer THEN 0 ELSE 1 END) OVER (PARTITION BY bin) AS others_in_bin
    FROM capped
)
SELECT prompt_id, chosen_id, rejected_id
FROM ranked
WHERE NOT $balance_length OR rank_in_bin <= least(longer_in_bin, others_in_bin)
ORDER BY prompt_id, chosen_id, rejected_id
