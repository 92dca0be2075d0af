-- What is measured of a model's texts to a prompt.
-- reads: outputs
-- writes: measures
SELECT
    model,
    prompt_id,
    count(*) AS responses,
    sum(words) AS words,
    array_agg(score ORDER BY sample) AS scores,
    array_agg(given_semantic ORDER BY sample) AS given_semantic,
    array_agg(given_style ORDER BY sample) AS given_style,
    mean_distance(semantic ORDER BY sample) AS semantic,
    vendi(semantic ORDER BY sample) AS semantic_vendi,
    dcscore(semantic ORDER BY sample) AS semantic_dcscore,
    chamfer(semantic ORDER BY sample) AS semantic_chamfer,
    mean_distance(style ORDER BY sample) AS style,
    vendi(style ORDER BY sample) AS style_vendi,
    dcscore(style ORDER BY sample) AS style_dcscore,
    chamfer(style ORDER BY sample) AS style_chamfer,
    compression_ratio(response ORDER BY sample) AS compression_ratio,
    homogenization(response ORDER BY sample) AS homogenization,
    self_bleu(response ORDER BY sample) AS self_bleu,
    self_repetition(response ORDER BY sample) AS self_repetition,
    ngram_diversity(response ORDER BY sample) AS ngram_diversity,
    distinct_n(response, 1 ORDER BY sample) AS distinct_1,
    distinct_n(response, 2 ORDER BY sample) AS distinct_2,
    ead(response, 1 ORDER BY sample) AS ead,
    distinct_k(class ORDER BY sample) AS distinct_k,
    array_agg(class ORDER BY sample) AS classes
FROM outputs
GROUP BY model, prompt_id
ORDER BY model, prompt_id;
