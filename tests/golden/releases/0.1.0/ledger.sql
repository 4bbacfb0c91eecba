PRAGMA application_id = 1212435788;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE receipts (
    scene_key TEXT NOT NULL,
    step TEXT NOT NULL,
    block INTEGER NOT NULL,
    seconds REAL NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (scene_key, step, block)
) STRICT, WITHOUT ROWID;
INSERT INTO "receipts" VALUES('2f29c8269c86a21c0c9ca68c2b6e41da6063df0aa2aecf12ea347ece57194cbe','infer',0,2.14421623500129499007e+00,'{"tiles":4,"skipped":0,"unlike":[[1650,262144]]}');
INSERT INTO "receipts" VALUES('2f29c8269c86a21c0c9ca68c2b6e41da6063df0aa2aecf12ea347ece57194cbe','stitch',0,3.54908999725012108683e-04,'{}');
INSERT INTO "receipts" VALUES('de5acedc764fc477e00ab6079eb7a05260813b7bb1193b6d0774a7bab8d9604e','infer',0,2.77812839000034728087e-01,'{"tiles":1,"skipped":0,"unlike":[[0,65536]]}');
INSERT INTO "receipts" VALUES('de5acedc764fc477e00ab6079eb7a05260813b7bb1193b6d0774a7bab8d9604e','stitch',0,2.3769499966874718666e-04,'{}');
CREATE TABLE scenes (
    id TEXT PRIMARY KEY,
    product_key TEXT NOT NULL,
    score_key TEXT NOT NULL,
    stage_key TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'quarantined', 'vanished')),
    outputs TEXT NOT NULL,
    error TEXT,
    info TEXT NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "scenes" VALUES('alder','1c232ec23845513350358e63c3f3afb8ec1036453e1fcd65bb1c09001d1c4431','de5acedc764fc477e00ab6079eb7a05260813b7bb1193b6d0774a7bab8d9604e','bb3e4aa7f5b156b1d26bfa71e6186ab55418ccb633f590f11d3da124262f47f0','done','["alder/mask.tif","alder/mask.tif.aux.xml","alder/mask.qml","alder/polygons.gpkg","alder/polygons.qml"]',NULL,'{"outputs":["alder/mask.tif","alder/mask.tif.aux.xml","alder/mask.qml","alder/polygons.gpkg","alder/polygons.qml"],"tiles":1,"blocks":1,"seconds":{"stage":0.034390639999401174,"infer":0.27781283900003473,"stitch":0.0002376949996687472,"publish":0.07535496899981808},"warnings":[],"products":{"mask":["alder/mask.tif","alder/mask.tif.aux.xml","alder/mask.qml"],"polygons":["alder/polygons.gpkg","alder/polygons.qml"]},"valid":1.0,"pixels":{"water":28094},"area_m2":{"water":2809400.0},"uncertainty":{"water":0.0036},"pixels_interval":{"water":[28067,28120]},"area_m2_interval":{"water":[2806700.0,2812000.0]},"unlike_examples":{"water":0.0},"footprint":[[15.0,45.1535],[15.0064,45.1535],[15.0127,45.1535],[15.0191,45.1535],[15.0254,45.1535],[15.0254,45.149],[15.0254,45.1445],[15.0254,45.14],[15.0254,45.1355],[15.0191,45.1355],[15.0127,45.1355],[15.0064,45.1355],[15.0,45.1355],[15.0,45.14],[15.0,45.1445],[15.0,45.149]],"mean_score":{"water":0.9982}}',4);
INSERT INTO "scenes" VALUES('birch','44761feb52fc0e86355598500a0792d6bc8656217dcc84e6fa24824dec4eb321','2f29c8269c86a21c0c9ca68c2b6e41da6063df0aa2aecf12ea347ece57194cbe','258bc757b5879af2dd5c8565589ae70ee69e020800b0c45aa971afe50e986ca7','done','["birch/mask.tif","birch/mask.tif.aux.xml","birch/mask.qml","birch/polygons.gpkg","birch/polygons.qml"]',NULL,'{"outputs":["birch/mask.tif","birch/mask.tif.aux.xml","birch/mask.qml","birch/polygons.gpkg","birch/polygons.qml"],"tiles":4,"blocks":1,"seconds":{"stage":0.03065042999878642,"infer":2.144216235001295,"stitch":0.0003549089997250121,"publish":0.05426488699959009},"warnings":[],"products":{"mask":["birch/mask.tif","birch/mask.tif.aux.xml","birch/mask.qml"],"polygons":["birch/polygons.gpkg","birch/polygons.qml"]},"valid":1.0,"pixels":{"water":40481},"area_m2":{"water":4048100.0},"uncertainty":{"water":0.0041},"pixels_interval":{"water":[40409,40521]},"area_m2_interval":{"water":[4040900.0,4052100.0]},"unlike_examples":{"water":0.0063},"footprint":[[15.0,45.1535],[15.0095,45.1535],[15.0191,45.1535],[15.0286,45.1535],[15.0382,45.1535],[15.0382,45.1467],[15.0382,45.14],[15.0382,45.1332],[15.0381,45.1265],[15.0286,45.1265],[15.0191,45.1265],[15.0095,45.1265],[15.0,45.1265],[15.0,45.1332],[15.0,45.14],[15.0,45.1467]],"mean_score":{"water":0.9979}}',5);
INSERT INTO "scenes" VALUES('broken','5b66bf33a82abf04bef4c24c73369391ad063129d7ed6e1c2d265cc10a2247d6','cbcf536d32a60d710a7d041b9693aad1308498964b2a563fbaea9ed17464cc7b','87bc3abba3ef418dee6209802f67a6158d9af42f08fc1af2854a509b2111f814','quarantined','[]','{"type":"ReadError","what":"cannot open the file: broken.tif: TIFFReadDirectory:Failed to read directory at offset 1763733358","where":"/archive/scenes/broken.tif","remedy":"check the file with `gdalinfo -checksum`; copy or download it again, or leave it out of the archive"}','{}',3);
COMMIT;
