;; Glue for workflows, written by hand: it picks answers by vote, takes the first there is, and builds a prompt.
;;
;; The gateway writes compact JSON into what `alloc` gives and calls an export with (pointer, length); the export returns
;; pointer << 32 | length of the JSON it answers. Values are never decoded: they are compared and copied as the bytes
;; they came in, so a string stays a string whatever is in it. Nothing is imported but `fail`, which ends the run.
(module
  (import "tollway" "fail" (func $fail (param i32 i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (global $out (mut i32) (i32.const 0))

  (data (i32.const 16) "votes")
  (data (i32.const 32) "of")
  (data (i32.const 48) "emotion")
  (data (i32.const 64) "passages")
  (data (i32.const 80) "messages")
  (data (i32.const 96) "{\22label\22:")
  (data (i32.const 112) ",\22votes\22:")
  (data (i32.const 128) ",\22of\22:")
  (data (i32.const 160) "[{\22role\22:\22system\22,\22content\22:\22")
  (data (i32.const 208) "emotion: ")
  (data (i32.const 224) "\5cnfact: ")
  (data (i32.const 256) "a list is missing from the input")
  (data (i32.const 304) "no one answered")

  ;; ---- memory: a heap that only grows; every run has a memory of its own
  (func $alloc (export "alloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (local.get $at) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1) (memory.grow
        (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536))))))
      (unreachable))
    (local.get $at))

  ;; ---- reading JSON: where a value ends, a field of an object
  (func $string_end (param $p i32) (result i32)
    (local $c i32)
    (loop $next
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (local.set $c (i32.load8_u (local.get $p)))
      (if (i32.eq (local.get $c) (i32.const 92))            ;; a backslash hides the next byte
        (then (local.set $p (i32.add (local.get $p) (i32.const 1))) (br $next)))
      (br_if $next (i32.ne (local.get $c) (i32.const 34))))
    (i32.add (local.get $p) (i32.const 1)))

  (func $value_end (param $p i32) (result i32)
    (local $depth i32) (local $c i32)
    (loop $next (result i32)
      (local.set $c (i32.load8_u (local.get $p)))
      (if (i32.eq (local.get $c) (i32.const 34))
        (then
          (local.set $p (call $string_end (local.get $p)))
          (if (i32.eqz (local.get $depth)) (then (return (local.get $p))))
          (br $next)))
      (if (i32.or (i32.eq (local.get $c) (i32.const 123)) (i32.eq (local.get $c) (i32.const 91)))
        (then (local.set $depth (i32.add (local.get $depth) (i32.const 1)))))
      (if (i32.or (i32.eq (local.get $c) (i32.const 125)) (i32.eq (local.get $c) (i32.const 93)))
        (then
          (if (i32.eqz (local.get $depth)) (then (return (local.get $p))))
          (local.set $depth (i32.sub (local.get $depth) (i32.const 1)))
          (if (i32.eqz (local.get $depth)) (then (return (i32.add (local.get $p) (i32.const 1)))))))
      (if (i32.and (i32.eqz (local.get $depth)) (i32.eq (local.get $c) (i32.const 44)))
        (then (return (local.get $p))))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br $next)))

  (func $same (param $a i32) (param $b i32) (param $size i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $size)) (then (return (i32.const 1))))
      (if (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b))) (then (return (i32.const 0))))
      (local.set $a (i32.add (local.get $a) (i32.const 1)))
      (local.set $b (i32.add (local.get $b) (i32.const 1)))
      (local.set $size (i32.sub (local.get $size) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; The value of a field of the object at $p, or 0.
  (func $field (param $p i32) (param $name i32) (param $size i32) (result i32)
    (local $key i32) (local $found i32)
    (local.set $p (i32.add (local.get $p) (i32.const 1)))
    (loop $next
      (if (i32.ne (i32.load8_u (local.get $p)) (i32.const 34)) (then (return (i32.const 0))))
      (local.set $key (i32.add (local.get $p) (i32.const 1)))
      (local.set $p (call $string_end (local.get $p)))
      (local.set $found (i32.and
        (i32.eq (i32.sub (i32.sub (local.get $p) (i32.const 1)) (local.get $key)) (local.get $size))
        (call $same (local.get $key) (local.get $name) (local.get $size))))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (if (local.get $found) (then (return (local.get $p))))
      (local.set $p (call $value_end (local.get $p)))
      (local.set $p (i32.add (local.get $p) (i32.eq (i32.load8_u (local.get $p)) (i32.const 44))))
      (br $next))
    (unreachable))

  ;; The first element of the list in a field; the run fails when there is no such list.
  (func $list (param $p i32) (param $name i32) (param $size i32) (result i32)
    (local.set $p (call $field (local.get $p) (local.get $name) (local.get $size)))
    (if (i32.eqz (local.get $p)) (then (call $fail (i32.const 256) (i32.const 32))))
    (if (i32.ne (i32.load8_u (local.get $p)) (i32.const 91)) (then (call $fail (i32.const 256) (i32.const 32))))
    (i32.add (local.get $p) (i32.const 1)))

  (func $is_null (param $p i32) (result i32)
    (i32.eq (i32.load8_u (local.get $p)) (i32.const 110)))

  ;; The element after the one at $p: $p is past a comma, or at the bracket that closes the list.
  (func $after (param $p i32) (result i32)
    (local.set $p (call $value_end (local.get $p)))
    (i32.add (local.get $p) (i32.eq (i32.load8_u (local.get $p)) (i32.const 44))))

  (func $closed (param $p i32) (result i32)
    (i32.eq (i32.load8_u (local.get $p)) (i32.const 93)))

  ;; ---- writing
  (func $put (param $from i32) (param $size i32)
    (memory.copy (global.get $out) (local.get $from) (local.get $size))
    (global.set $out (i32.add (global.get $out) (local.get $size))))

  (func $put_value (param $p i32)
    (call $put (local.get $p) (i32.sub (call $value_end (local.get $p)) (local.get $p))))

  ;; The inside of the string at $p: still escaped, so it may stand inside another string.
  (func $put_inside (param $p i32)
    (call $put (i32.add (local.get $p) (i32.const 1))
      (i32.sub (i32.sub (call $string_end (local.get $p)) (local.get $p)) (i32.const 2))))

  (func $put_byte (param $c i32)
    (i32.store8 (global.get $out) (local.get $c))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))

  (func $put_number (param $n i32)
    (if (i32.ge_u (local.get $n) (i32.const 10)) (then (call $put_number (i32.div_u (local.get $n) (i32.const 10)))))
    (call $put_byte (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))

  (func $answer (param $from i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $from)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (global.get $out) (local.get $from)))))

  ;; ---- vote: {"votes": [...]} gives {"label": the commonest, "votes": how many, "of": how many there were}.
  ;; Nulls (who did not answer) do not vote; of equals the one named first wins.
  (func (export "vote") (param $input i32) (param $size i32) (result i64)
    (local $first i32) (local $one i32) (local $other i32) (local $length i32)
    (local $count i32) (local $best i32) (local $most i32) (local $all i32) (local $from i32)
    (local.set $first (call $list (local.get $input) (i32.const 16) (i32.const 5)))
    (local.set $one (local.get $first))
    (block $counted
      (loop $next
        (br_if $counted (call $closed (local.get $one)))
        (if (i32.eqz (call $is_null (local.get $one)))
          (then
            (local.set $all (i32.add (local.get $all) (i32.const 1)))
            (local.set $length (i32.sub (call $value_end (local.get $one)) (local.get $one)))
            (local.set $count (i32.const 0))
            (local.set $other (local.get $first))
            (block $compared
              (loop $another
                (br_if $compared (call $closed (local.get $other)))
                (if (i32.eq (i32.sub (call $value_end (local.get $other)) (local.get $other)) (local.get $length))
                  (then (local.set $count (i32.add (local.get $count)
                    (call $same (local.get $one) (local.get $other) (local.get $length))))))
                (local.set $other (call $after (local.get $other)))
                (br $another)))
            (if (i32.gt_u (local.get $count) (local.get $most))
              (then (local.set $most (local.get $count)) (local.set $best (local.get $one))))))
        (local.set $one (call $after (local.get $one)))
        (br $next)))
    (if (i32.eqz (local.get $all)) (then (call $fail (i32.const 304) (i32.const 15))))
    (local.set $from (call $alloc (i32.add (local.get $size) (i32.const 64))))
    (global.set $out (local.get $from))
    (call $put (i32.const 96) (i32.const 9))
    (call $put_value (local.get $best))
    (call $put (i32.const 112) (i32.const 9))
    (call $put_number (local.get $most))
    (call $put (i32.const 128) (i32.const 6))
    (call $put_number (local.get $all))
    (call $put_byte (i32.const 125))
    (call $answer (local.get $from)))

  ;; ---- first: {"of": [...]} gives the first that is not null, as it is.
  (func (export "first") (param $input i32) (param $size i32) (result i64)
    (local $one i32)
    (local.set $one (call $list (local.get $input) (i32.const 32) (i32.const 2)))
    (loop $next
      (if (call $closed (local.get $one)) (then (call $fail (i32.const 304) (i32.const 15))))
      (if (call $is_null (local.get $one)) (then (local.set $one (call $after (local.get $one))) (br $next))))
    (global.set $out (call $value_end (local.get $one)))
    (call $answer (local.get $one)))

  ;; ---- prompt: {"emotion": text or null, "passages": [text, ...] or null, "messages": [...]} gives the messages with a
  ;; system message before them: "emotion: ..." and "fact: ..." (the best passage), each only if it is there.
  (func (export "prompt") (param $input i32) (param $size i32) (result i64)
    (local $from i32) (local $emotion i32) (local $fact i32) (local $rest i32)
    (local.set $rest (call $list (local.get $input) (i32.const 80) (i32.const 8)))
    (local.set $emotion (call $field (local.get $input) (i32.const 48) (i32.const 7)))
    (local.set $fact (call $field (local.get $input) (i32.const 64) (i32.const 8)))
    (local.set $from (call $alloc (i32.add (local.get $size) (i32.const 128))))
    (global.set $out (local.get $from))
    (call $put (i32.const 160) (i32.const 29))
    (if (local.get $emotion)
      (then (if (i32.eq (i32.load8_u (local.get $emotion)) (i32.const 34))
        (then (call $put (i32.const 208) (i32.const 9)) (call $put_inside (local.get $emotion))))))
    (if (local.get $fact)
      (then (if (i32.eq (i32.load8_u (local.get $fact)) (i32.const 91))
        (then (if (i32.eq (i32.load8_u (i32.add (local.get $fact) (i32.const 1))) (i32.const 34))
          (then
            (call $put (i32.const 224) (i32.const 8))
            (call $put_inside (i32.add (local.get $fact) (i32.const 1)))))))))
    (call $put_byte (i32.const 34))
    (call $put_byte (i32.const 125))
    (block $copied
      (br_if $copied (call $closed (local.get $rest)))
      (call $put_byte (i32.const 44))
      (call $put (local.get $rest)
        (i32.sub (i32.sub (call $value_end (i32.sub (local.get $rest) (i32.const 1))) (i32.const 1)) (local.get $rest))))
    (call $put_byte (i32.const 93))
    (call $answer (local.get $from))))
