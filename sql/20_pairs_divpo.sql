-- reads: candidates, weights
-- writes: pair_ids
-- Diverse preference optimization (DivPO): of the fraction --rho of a prompt's responses with the most
-- votes (at least two) the most deviant are chosen; of the fraction --rho with the fewest votes the
-- least deviant are rejected. The i-th chosen is paired with the i-th rejected, at most --max-pairs
-- per prompt.
WITH ranked AS (
    SELECT
        candidates.prompt_id,
        candidates.response_id,
        candidates.score,
        weights.weight,
        count(*) OVER (PARTITION BY candidates.prompt_id) AS n,
        row_number() OVER (
            PARTITION BY candidates.prompt_id
            ORDER BY candidates.score DESC, md5($seed || ' ' || candidates.response_id)
        ) AS from_best,
        row_number() OVER (
            PARTITION BY candidates.prompt_id
            ORDER BY candidates.score, md5($seed || ' ' || candidates.response_id) DESC
        ) AS from_worst
    FROM candidates
    JOIN weights ON weights.response_id = candidates.response_id
        AND weights.prompt_id = candidates.prompt_id
    WHERE candidates.excluded IS NULL
),
sized AS (
    SELECT *, least(greatest(CAST(floor($rho * n) AS BIGINT), 2), n / 2) AS side FROM ranked
),
winners AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY prompt_id ORDER BY weight DESC, response_id) AS rank
    FROM sized
    WHERE from_best <= side
),
losers AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY prompt_id ORDER BY weight, response_id) AS rank
    FROM sized
    WHERE from_worst <= side
)
SELECT
    winners.prompt_id,
    winners.response_id AS chosen_id,
    losers.response_id AS rejected_id
FROM winners
JOIN losers ON losers.prompt_id = winners.prompt_id AND losers.rank = winners.rank
WHERE winners.rank <= $max_pairs AND winners.score > losers.score
ORDER BY prompt_id, chosen_id, rejected_id
