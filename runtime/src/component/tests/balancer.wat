;; A balancer that answers by how many ids were tried: 0: the first endpoint; 1: an endpoint that does not exist;
;; 2: none; 3: the live connections of the first endpoint; 4: how many updates there were; 5: it traps; 6: the first
;; endpoint, with a header `x-told` that says what it knows: of each of the ids 0 to 63 its weight plus 0x40 and the length
;; of its zone plus 0x40, or `??`; and how many endpoints have changed and gone with the last update, plus 0x40 each. 7: the
;; first endpoint, with a header of the runtime.
(module
  (import "tidegate:edge/endpoint-stats@0.2.0" "active" (func $active (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (global $updates (mut i32) (i32.const 0))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.get $start))

  (func (export "tidegate:edge/balancing@0.2.0#configure") (param i32 i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.const 0))

  ;; What it knows, from 512 on; what changed last behind it; two names of headers.
  (data (i32.const 512) "????????????????????????????????????????????????????????????????????????????????????????????????????????????????????????????????@@")
  (data (i32.const 700) "x-told")
  (data (i32.const 708) "upgrade")

  ;; Where it keeps what it knows of an id; of those that are too large, nowhere.
  (func $place (param $id i32) (result i32)
    (select (i32.add (i32.const 512) (i32.shl (local.get $id) (i32.const 1))) (i32.const 760)
      (i32.lt_u (local.get $id) (i32.const 64))))

  (func (export "tidegate:edge/balancing@0.2.0#update")
    (param $changed i32) (param $changed_length i32) (param $gone i32) (param $gone_length i32)
    (global.set $heap (i32.const 1024))
    (i32.store8 (i32.const 640) (i32.add (i32.const 0x40) (local.get $changed_length)))
    (i32.store8 (i32.const 641) (i32.add (i32.const 0x40) (local.get $gone_length)))
    (block $told
      (loop $next
        (br_if $told (i32.eqz (local.get $changed_length)))
        (i32.store8 (call $place (i32.load (local.get $changed)))
          (i32.add (i32.const 0x40) (i32.load offset=12 (local.get $changed))))
        (i32.store8 offset=1 (call $place (i32.load (local.get $changed)))
          (i32.add (i32.const 0x40)
            (select (i32.load offset=28 (local.get $changed)) (i32.const 0) (i32.load8_u offset=20 (local.get $changed)))))
        (local.set $changed (i32.add (local.get $changed) (i32.const 40)))
        (local.set $changed_length (i32.sub (local.get $changed_length) (i32.const 1)))
        (br $next)))
    (block $forgotten
      (loop $next
        (br_if $forgotten (i32.eqz (local.get $gone_length)))
        (i32.store16 (call $place (i32.load (local.get $gone))) (i32.const 0x3f3f))
        (local.set $gone (i32.add (local.get $gone) (i32.const 4)))
        (local.set $gone_length (i32.sub (local.get $gone_length) (i32.const 1)))
        (br $next)))
    (global.set $updates (i32.add (global.get $updates) (i32.const 1))))

  (func $first (result i32) (local $id i32)
    (loop $next
      (if (i32.eq (i32.load8_u (call $place (local.get $id))) (i32.const 0x3f))
        (then (local.set $id (i32.add (local.get $id) (i32.const 1))) (br_if $next (i32.lt_u (local.get $id) (i32.const 64))))))
    (local.get $id))

  ;; One header edit, `append`, at 720.
  (func $edit (param $name i32) (param $name_length i32) (param $value i32) (param $value_length i32)
    (i32.store8 (i32.const 720) (i32.const 1))
    (i32.store (i32.const 724) (local.get $name))
    (i32.store (i32.const 728) (local.get $name_length))
    (i32.store (i32.const 732) (local.get $value))
    (i32.store (i32.const 736) (local.get $value_length))
    (i32.store (i32.const 8) (i32.const 720))
    (i32.store (i32.const 12) (i32.const 1)))

  (func (export "tidegate:edge/balancing@0.2.0#pick") (param $parameters i32) (result i32)
    (local $tried i32)
    (global.set $heap (i32.const 1024))
    (local.set $tried (i32.load offset=108 (local.get $parameters)))
    (if (i32.eq (local.get $tried) (i32.const 5)) (then (unreachable)))
    (i32.store8 (i32.const 0) (i32.ne (local.get $tried) (i32.const 2)))
    (i32.store (i32.const 4) (call $first))
    (i32.store (i32.const 12) (i32.const 0))
    (if (i32.eq (local.get $tried) (i32.const 1)) (then (i32.store (i32.const 4) (i32.const 99))))
    (if (i32.eq (local.get $tried) (i32.const 3)) (then (i32.store (i32.const 4) (call $active (call $first)))))
    (if (i32.eq (local.get $tried) (i32.const 4)) (then (i32.store (i32.const 4) (global.get $updates))))
    (if (i32.eq (local.get $tried) (i32.const 6))
      (then (call $edit (i32.const 700) (i32.const 6) (i32.const 512) (i32.const 130))))
    (if (i32.eq (local.get $tried) (i32.const 7))
      (then (call $edit (i32.const 708) (i32.const 7) (i32.const 512) (i32.const 1))))
    (i32.const 0)))
