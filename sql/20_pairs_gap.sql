-- reads: candidates
-- writes: matched
-- The reference's pairs: drawn by seed among those whose votes differ by at least --gap, each
-- response once; when none is left, among those whose votes differ at all.
SELECT prompt_id, pair['chosen'] AS chosen_id, pair['rejected'] AS rejected_id
FROM (
    SELECT prompt_id, unnest(pairs_by_gap(response_id, score, $gap, $seed)) AS pair
    FROM candidates
    WHERE excluded IS NULL
    GROUP BY prompt_id
) AS drawn
ORDER BY prompt_id, chosen_id, rejected_id
