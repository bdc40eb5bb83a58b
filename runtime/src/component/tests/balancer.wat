;; A balancer that answers by how many ids were tried: 0: the first endpoint; 1: an endpoint that does not exist;
;; 2: none; 3: the live connections of the first endpoint; 4: how many updates there were; 5: it traps.
(module
  (import "tidegate:edge/endpoint-stats@0.2.0" "active" (func $active (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (global $first (mut i32) (i32.const 0))
  (global $updates (mut i32) (i32.const 0))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.get $start))

  (func (export "tidegate:edge/balancing@0.2.0#configure") (param i32 i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.const 0))

  (func (export "tidegate:edge/balancing@0.2.0#update") (param $endpoints i32) (param i32)
    (global.set $heap (i32.const 1024))
    (global.set $first (i32.load (local.get $endpoints)))
    (global.set $updates (i32.add (global.get $updates) (i32.const 1))))

  (func (export "tidegate:edge/balancing@0.2.0#pick") (param $parameters i32) (result i32)
    (local $tried i32)
    (global.set $heap (i32.const 1024))
    (local.set $tried (i32.load offset=108 (local.get $parameters)))
    (if (i32.eq (local.get $tried) (i32.const 5)) (then (unreachable)))
    (i32.store8 (i32.const 0) (i32.ne (local.get $tried) (i32.const 2)))
    (i32.store (i32.const 4) (global.get $first))
    (if (i32.eq (local.get $tried) (i32.const 1)) (then (i32.store (i32.const 4) (i32.const 99))))
    (if (i32.eq (local.get $tried) (i32.const 3)) (then (i32.store (i32.const 4) (call $active (global.get $first)))))
    (if (i32.eq (local.get $tried) (i32.const 4)) (then (i32.store (i32.const 4) (global.get $updates))))
    (i32.const 0)))
