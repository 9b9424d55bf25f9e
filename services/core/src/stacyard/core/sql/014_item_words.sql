-- Free text finds items by an index of those that have text: titles, descriptions and keywords in their properties. Of an
-- item that has none, a load only looks whether it does. While the index is made, which reads every item, searches go on and
-- writes wait.

-- no SQL function, which the planner would write out for the index of every partition whenever it plans a search
CREATE FUNCTION stacyard.item_words(content jsonb) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
DECLARE
    properties jsonb := content->'properties';
BEGIN
    IF properties ?| ARRAY['description', 'title', 'keywords'] THEN
        -- an index of words holds a megabyte of them at the most, and refuses the write of more
        RETURN to_tsvector('english', left(coalesce(properties->>'description', ''), 50000))
            || to_tsvector('english', left(coalesce(properties->>'title', ''), 50000))
            || to_tsvector('english', left(coalesce(properties->>'keywords', ''), 50000));
    END IF;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION stacyard.item_words IS
    'Of description, title and keywords of an item, in this order, as in pgSTAC; nothing if it has none of them.';

CREATE INDEX stacyard_items_words ON pgstac.items USING gin (stacyard.item_words(content))
    WHERE stacyard.item_words(content) IS NOT NULL;
-- tells pgstac.maintain_partitions that the index is no leftover to drop; to drop leftovers and rebuild in one call, it refuses
CREATE INDEX stacyard_template_words ON pgstac.queryable_index_template USING gin (stacyard.item_words(content))
    WHERE stacyard.item_words(content) IS NOT NULL;
