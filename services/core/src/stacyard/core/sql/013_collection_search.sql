-- What a search of collections looks at, kept beside pgSTAC's table by triggers, so that it is right whoever writes there.
--
-- A collection's document is kilobytes of compressed JSON, most of it about assets; reading ten thousand of them for one
-- property takes a second. Here each is a row without what is not searched, not compressed, with its words ready.

CREATE TABLE stacyard.collection_search (
    key bigint PRIMARY KEY,
    id text NOT NULL,
    geometry geometry,
    datetime timestamptz,
    end_datetime timestamptz,
    properties jsonb NOT NULL,
    words tsvector NOT NULL
);
ALTER TABLE stacyard.collection_search ALTER properties SET STORAGE EXTERNAL;
-- rows stay in one piece up to a page
ALTER TABLE stacyard.collection_search SET (toast_tuple_target = 8160);
COMMENT ON TABLE stacyard.collection_search IS
    'One row for each collection in pgstac.collections, made by triggers; Catalogs, which pgSTAC keeps there too, have none.';
COMMENT ON COLUMN stacyard.collection_search.geometry IS
    'The first box of the spatial extent, in EPSG:4326; two boxes where it crosses the antimeridian.';
COMMENT ON COLUMN stacyard.collection_search.properties IS 'The document without links, assets and item_assets.';
COMMENT ON COLUMN stacyard.collection_search.words IS 'Of description, title and keywords, in this order, as in pgSTAC.';

CREATE FUNCTION stacyard.collection_geometry(content jsonb) RETURNS geometry
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path TO public AS $$
DECLARE
    boxes float8[];
    gap float8;
BEGIN
    -- west, south, east, north of each; heights are left out
    SELECT array_agg(
        CASE jsonb_array_length(box)
            WHEN 4 THEN ARRAY[(box->>0)::float8, (box->>1)::float8, (box->>2)::float8, (box->>3)::float8]
            WHEN 6 THEN ARRAY[(box->>0)::float8, (box->>1)::float8, (box->>3)::float8, (box->>4)::float8]
        END ORDER BY place
    ) INTO boxes FROM jsonb_array_elements(content #> '{extent,spatial,bbox}') WITH ORDINALITY AS of (box, place);
    IF boxes[1][1] > boxes[1][3] THEN
        RETURN ST_Collect(
            ST_MakeEnvelope(boxes[1][1], boxes[1][2], 180, boxes[1][4], 4326),
            ST_MakeEnvelope(-180, boxes[1][2], boxes[1][3], boxes[1][4], 4326)
        );
    END IF;
    -- as stacyard stores an extent across the antimeridian: all of it, its part in the east, its part in the west
    gap := boxes[2][1] - boxes[3][3];
    IF array_length(boxes, 1) = 3 AND boxes[3][1] = boxes[1][1] AND boxes[2][3] = boxes[1][3]
        AND gap > 0 AND gap > 360 - (boxes[1][3] - boxes[1][1])
    THEN
        RETURN ST_Collect(
            ST_MakeEnvelope(boxes[2][1], boxes[1][2], boxes[2][3], boxes[1][4], 4326),
            ST_MakeEnvelope(boxes[3][1], boxes[1][2], boxes[3][3], boxes[1][4], 4326)
        );
    END IF;
    RETURN ST_MakeEnvelope(boxes[1][1], boxes[1][2], boxes[1][3], boxes[1][4], 4326);
EXCEPTION WHEN OTHERS THEN
    -- what pgSTAC takes is not refused here; it has its own idea of where that is
    RETURN NULL;
END;
$$;

CREATE FUNCTION stacyard.collection_search_row(collection pgstac.collections) RETURNS stacyard.collection_search
LANGUAGE sql IMMUTABLE SET search_path TO public AS $$
    SELECT
        collection.key,
        collection.id,
        coalesce(stacyard.collection_geometry(collection.content), collection.geometry),
        collection.datetime,
        collection.end_datetime,
        collection.content - '{links,assets,item_assets}'::text[],
        -- an index of words holds a megabyte of them at the most, and refuses the write of more
        to_tsvector('english', left(coalesce(collection.content->>'description', ''), 50000))
            || to_tsvector('english', left(coalesce(collection.content->>'title', ''), 50000))
            || to_tsvector('english', left(coalesce(collection.content->>'keywords', ''), 50000))
$$;

-- no collection is written between the look at what is there and the triggers
LOCK TABLE pgstac.collections IN SHARE ROW EXCLUSIVE MODE;

INSERT INTO stacyard.collection_search
SELECT made.*
FROM pgstac.collections AS collections, LATERAL stacyard.collection_search_row(collections) AS made
WHERE collections.content->>'type' = 'Collection';

CREATE INDEX collection_search_geometry ON stacyard.collection_search USING gist (geometry);
CREATE INDEX collection_search_words ON stacyard.collection_search USING gin (words);
ANALYZE stacyard.collection_search;

CREATE FUNCTION stacyard.keep_collection_search() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path TO public AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM stacyard.collection_search;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM stacyard.collection_search WHERE key = OLD.key;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.content->>'type' = 'Collection' THEN
        INSERT INTO stacyard.collection_search SELECT * FROM stacyard.collection_search_row(NEW);
    END IF;
    RETURN NULL;
END;
$$;
REVOKE ALL ON FUNCTION stacyard.keep_collection_search FROM PUBLIC;

CREATE TRIGGER stacyard_collection_search AFTER INSERT OR UPDATE OR DELETE ON pgstac.collections
FOR EACH ROW EXECUTE FUNCTION stacyard.keep_collection_search();
CREATE TRIGGER stacyard_collection_search_all AFTER TRUNCATE ON pgstac.collections
FOR EACH STATEMENT EXECUTE FUNCTION stacyard.keep_collection_search();

GRANT SELECT ON stacyard.collection_search TO stacyard_reader, stacyard_writer, stacyard_ingest;
