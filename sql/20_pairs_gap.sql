-- reads: candidates
-- writes: pair_ids
-- Pairs by vote gap, as in the paper's code: sampled by --seed from the pairs whose votes differ by at
-- least --gap, each response at most once; when none remains, from the pairs whose votes differ at all.
SELECT prompt_id, pair['chosen'] AS chosen_id, pair['rejected'] AS rejected_id
FROM (
    SELECT prompt_id, unnest(pairs_by_gap(response_id, score, $gap, $seed)) AS pair
    FROM candidates
    WHERE excluded IS NULL
    GROUP BY prompt_id
) AS sampled
ORDER BY prompt_id, chosen_id, rejected_id
