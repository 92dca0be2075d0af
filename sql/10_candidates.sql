-- reads: responses, prompts, eval_prompts
-- writes: candidates
-- Candidates: the responses that can be in pairs, and why the others are excluded. All posts of a prompt
-- (reposts have the same prompt_key) are one prompt with the least id of its posts. Duplicate texts of
-- a prompt count once, with their highest votes. Prompts with fewer than --min-responses candidates are
-- excluded. --max-responses limits the responses per prompt: a random sample by --seed, or those with the
-- most votes with --select best. The prompts in eval_prompts (--eval-prompts) are excluded. The condition
-- of --where stands for $where and sees the columns of
-- `described`: a response, and its prompt. The hash join builds its table from the prompts, which are
-- written first, and streams the stories.
SET datafusion.optimizer.join_reordering = false;
WITH described AS (
    SELECT
        responses.* EXCLUDE (prompt_id),
        first_posts.prompt_id,
        first_posts.is_eval_prompt,
        prompts.prompt,
        prompts.tag,
        prompts.title,
        prompts.body,
        prompts.split,
        prompts.score AS prompt_score,
        prompts.created_at AS prompt_created_at
    FROM (
        SELECT posts.*, eval_prompts.prompt_key IS NOT NULL AS is_eval_prompt
        FROM (
            SELECT prompt_key, min(prompt_id) AS prompt_id FROM prompts GROUP BY prompt_key
        ) AS posts
        LEFT JOIN eval_prompts ON eval_prompts.prompt_key = posts.prompt_key
    ) AS first_posts
    JOIN prompts ON prompts.prompt_key = first_posts.prompt_key
    JOIN responses ON responses.prompt_id = prompts.prompt_id
),
measured AS (
    SELECT
        prompt_id,
        response_id,
        score,
        created_at,
        words,
        split,
        is_eval_prompt,
        coalesce($where, FALSE) AS passes_where,
        encode(sha256(text), 'hex') AS text_hash,
        CASE
            WHEN $tokenizer = '' THEN words
            ELSE token_count(prompt || chr(10) || text, $tokenizer)
        END AS length
    FROM described
),
distinguished AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY prompt_id, passes_where, text_hash ORDER BY score DESC, response_id
        ) AS copy
    FROM measured
),
filtered AS (
    SELECT
        *,
        CASE
            WHEN is_eval_prompt THEN 'eval_prompt'
            WHEN NOT passes_where THEN 'where'
            WHEN copy > 1 THEN 'same_text'
            WHEN words < $min_words THEN 'too_short'
            WHEN length > $max_length THEN 'too_long'
            WHEN score < $min_votes THEN 'too_few_votes'
        END AS excluded
    FROM distinguished
),
ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY prompt_id, excluded IS NULL
            ORDER BY
                CASE WHEN $best_first THEN -score ELSE 0 END,
                md5($seed || ' ' || response_id)
        ) AS rank,
        count(*) OVER (PARTITION BY prompt_id, excluded IS NULL) AS n
    FROM filtered
)
SELECT
    prompt_id,
    response_id,
    score,
    created_at,
    words,
    split,
    text_hash,
    CASE
        WHEN excluded IS NULL AND n < $min_responses THEN 'too_few_responses'
        WHEN excluded IS NULL AND $max_responses > 0 AND rank > $max_responses
            THEN 'beyond_max_responses'
        ELSE excluded
    END AS excluded
FROM ranked
ORDER BY prompt_id, response_id
