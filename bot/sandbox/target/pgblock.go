package target

import "context"

// block reads DO $$ BEGIN ... END $$: the statements that are understood by
// themselves, PERFORM, and IF [NOT] EXISTS (...) THEN ... END IF.
func block(st *statement) (*command, error) {
	if !st.take("do") {
		return nil, nil
	}
	st.take("language", "plpgsql")
	if st.done() || st.tokens[st.next].kind != body {
		return nil, nil
	}
	code := st.tokens[st.next].value
	st.next++
	st.take("language", "plpgsql")
	tokens, err := lex(code)
	if err != nil {
		return nil, err
	}
	b := &blockReader{statement{source: code, tokens: tokens}}
	steps, err := b.read()
	if err != nil {
		return nil, err
	}
	return act("DO", func(s *pgSession) error { return runAll(s, steps) }), nil
}

type step func(*pgSession) error

func runAll(s *pgSession, steps []step) error {
	for _, do := range steps {
		if err := do(s); err != nil {
			return err
		}
	}
	return nil
}

type blockReader struct{ statement }

func (b *blockReader) read() ([]step, error) {
	if !b.take("begin") {
		return nil, unsupported(withoutSecret(&b.statement))
	}
	steps, err := b.steps()
	if err != nil {
		return nil, err
	}
	b.take(";")
	if !b.done() {
		return nil, syntaxError("something follows END", b.source[b.tokens[b.next].from:])
	}
	return steps, nil
}

// steps reads up to the END that belongs to the block.
func (b *blockReader) steps() (steps []step, err error) {
	for !b.take("end") {
		if b.done() {
			return nil, syntaxError("a block is not ended", b.source)
		}
		one, err := b.step()
		if err != nil {
			return nil, err
		}
		steps = append(steps, one)
	}
	return steps, nil
}

func (b *blockReader) step() (step, error) {
	if b.take("if") {
		return b.condition()
	}
	one := b.upToSemicolon()
	if one.take("null") && one.done() {
		return func(*pgSession) error { return nil }, nil
	}
	if one.take("perform") {
		name, ok := readTerminate(one)
		if !ok || !one.done() {
			return nil, unsupported(withoutSecret(one))
		}
		return func(s *pgSession) error {
			_, err := s.terminate(name.of(nil))
			return err
		}, nil
	}
	for _, read := range []func(*statement) (*command, error){roleChanges, memberships, owned} {
		one.next = 0
		c, err := read(one)
		if err != nil {
			return nil, err
		}
		if c != nil && one.done() {
			return func(s *pgSession) error {
				_, err := c.run(context.Background(), s, nil)
				return err
			}, nil
		}
	}
	return nil, unsupported(withoutSecret(one))
}

// upToSemicolon takes one statement out of the block.
func (b *blockReader) upToSemicolon() *statement {
	one := &statement{source: b.source}
	for !b.done() && !b.take(";") {
		one.tokens = append(one.tokens, b.tokens[b.next])
		b.next++
	}
	return one
}

func (b *blockReader) condition() (step, error) {
	start := b.tokens[b.next-1].from
	want := !b.take("not")
	name, ok := readExists(&b.statement)
	if !ok || name.param > 0 || !b.take("then") {
		return nil, unsupported(b.source[start:])
	}
	steps, err := b.steps()
	if err != nil {
		return nil, err
	}
	if !b.take("if") || !b.take(";") {
		return nil, unsupported(b.source[start:])
	}
	return func(s *pgSession) error {
		if s.exists(name.value) != want {
			return nil
		}
		return runAll(s, steps)
	}, nil
}
