-- reads: quarantined, pending, sources
-- writes: quarantine
-- Quarantine view: all rows that are neither a prompt nor a response, with the reason. A comment
-- whose submission is not a prompt is in `pending`. Its reason depends on the submission, which may
-- be read later, so it is computed here and not stored.
SELECT source, line, reason, id, retrieved_at, text
FROM quarantined
UNION ALL
SELECT
    pending.source,
    pending.line,
    CASE
        WHEN submission.reason IS NULL THEN 'orphan'
        WHEN submission.reason IN ('off_topic_submission', 'untagged_submission')
            THEN 'comment_on_off_topic'
        ELSE 'comment_on_removed'
    END AS reason,
    pending.response_id AS id,
    pending.retrieved_at,
    substr(pending.text, 1, 200) AS text
FROM pending
LEFT JOIN (
    SELECT quarantined.id, min(quarantined.reason) AS reason
    FROM quarantined
    JOIN sources ON quarantined.source = sources.source
    WHERE sources.kind = 'submissions' AND quarantined.id IS NOT NULL
    GROUP BY quarantined.id
) AS submission ON submission.id = pending.prompt_id
