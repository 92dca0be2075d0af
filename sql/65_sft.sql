-- reads: candidates, responses, prompts
-- writes: sft
-- SFT examples: every response that passed the filters (every candidate, in a pair or not), as prompt and
-- completion in TRL's conversational format. The narrow ids are written first, so that the hash joins
-- build their tables from ids and prompts and stream the stories; the sort spills to disk.
SET datafusion.optimizer.join_reordering = false;
SET datafusion.execution.target_partitions = 1;
SET datafusion.execution.batch_size = 1024;
SELECT
    examples.response_id,
    examples.prompt_id,
    make_array(named_struct('role', 'user', 'content', prompts.prompt)) AS prompt,
    make_array(named_struct('role', 'assistant', 'content', examples.text)) AS completion,
    examples.score,
    prompts.split
FROM prompts
JOIN (
    SELECT
        candidates.response_id,
        candidates.prompt_id,
        responses.text,
        responses.score
    FROM candidates
    -- By the response's id alone: it may belong to a repost of the prompt.
    JOIN responses ON responses.response_id = candidates.response_id
    WHERE candidates.excluded IS NULL
) AS examples ON examples.prompt_id = prompts.prompt_id
ORDER BY examples.prompt_id, examples.response_id
