-- reads: responses, prompts
-- writes: candidates
-- Which responses may stand in pairs, and why the others may not. A text that stands several times
-- under one prompt counts once, with its best votes; --max-responses keeps that many of a prompt,
-- drawn by seed, or the best with --best-first. The join holds the prompts, which are written
-- first, and streams the stories past them.
SET datafusion.optimizer.join_reordering = false;
WITH measured AS (
    SELECT
        responses.prompt_id,
        responses.response_id,
        responses.score,
        responses.created_at,
        responses.words,
        prompts.split,
        encode(sha256(responses.text), 'hex') AS text_hash,
        CASE
            WHEN $tokenizer = '' THEN responses.words
            ELSE token_count(prompts.prompt || chr(10) || responses.text, $tokenizer)
        END AS length
    FROM prompts
    JOIN responses ON responses.prompt_id = prompts.prompt_id
),
distinguished AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY prompt_id, text_hash ORDER BY score DESC, response_id
        ) AS copy
    FROM measured
),
judged AS (
    SELECT
        *,
        CASE
            WHEN copy > 1 THEN 'same_text'
            WHEN words < $min_words THEN 'too_short'
            WHEN length > $max_length THEN 'too_long'
            WHEN score < $min_votes THEN 'too_few_votes'
        END AS excluded
    FROM distinguished
),
drawn AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY prompt_id, excluded IS NULL
            ORDER BY
                CASE WHEN $best_first THEN -score ELSE 0 END,
                md5($seed || ' ' || response_id)
        ) AS place
    FROM judged
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
        WHEN excluded IS NULL AND $max_responses > 0 AND place > $max_responses
            THEN 'beyond_max_responses'
        ELSE excluded
    END AS excluded
FROM drawn
ORDER BY prompt_id, response_id
