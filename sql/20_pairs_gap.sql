-- reads: candidates
-- writes: pair_ids
-- Pairs by vote gap, as in the paper's code: sampled by --seed from the pairs whose votes differ by at
-- least --gap, each response at most once; when none remains, from the pairs whose votes differ at all.
-- With --max-pairs at most that many pairs of a prompt remain, at random or, with --best-winners, those
-- whose chosen response has the most votes: the paper's ablation over responses per prompt, where N
-- responses are N / 2 pairs.
WITH sampled AS (
    SELECT
        prompt_id,
        unnest(pairs_by_gap(response_id, score, $gap, $seed)) AS pair
    FROM candidates
    WHERE excluded IS NULL
    GROUP BY prompt_id
),
ranked AS (
    SELECT
        sampled.prompt_id,
        sampled.pair['chosen'] AS chosen_id,
        sampled.pair['rejected'] AS rejected_id,
        row_number() OVER (
            PARTITION BY sampled.prompt_id
            ORDER BY
                CASE WHEN $best_winners THEN -chosen.score ELSE 0 END,
                md5($seed || ' ' || sampled.pair['chosen'] || ' ' || sampled.pair['rejected'])
        ) AS rank
    FROM sampled
    JOIN candidates AS chosen
        ON chosen.prompt_id = sampled.prompt_id AND chosen.response_id = sampled.pair['chosen']
)
SELECT prompt_id, chosen_id, rejected_id
FROM ranked
WHERE $max_pairs = 0 OR rank <= $max_pairs
ORDER BY prompt_id, chosen_id, rejected_id
