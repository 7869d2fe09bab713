"""Orders, mixtures, schedules and lineage as Python sees them: the library's own numbers, errors and conversions."""
import unittest

import depthgrow as dg


class Orders(unittest.TestCase):
    def test_operators(self):
        self.assertEqual(list(dg.midas(8, block=4)), [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7])
        self.assertEqual(list(dg.lidas(8, block=4)), [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7])
        self.assertEqual(list(dg.gradual(4, block=2)), [0, 1, 2, 3, 2, 3])
        self.assertEqual(list(dg.doubling(2)), [0, 1, 0, 1])
        self.assertEqual(list(dg.interleave(2)), [0, 0, 1, 1])
        self.assertEqual(list(dg.solar(4, dropped=1)), [0, 1, 2, 1, 2, 3])
        self.assertEqual(list(dg.skip(4, 1, 2)), [0, 3])
        self.assertEqual(list(dg.swap_blocks(8, 2, 2)), [0, 1, 4, 5, 2, 3, 6, 7])
        self.assertEqual(list(dg.reverse(8, 2, 4)), [0, 1, 5, 4, 3, 2, 6, 7])
        self.assertEqual(list(dg.loop(8, 2, 2, 1)), [0, 1, 2, 3, 2, 3, 4, 5, 6, 7])
        self.assertEqual(str(dg.collapse(5, 1, 2)), "0 -1+2+3 4")

    def test_the_table_makes_every_operator(self):
        for entry in dg.operator_table():
            rows = dg.GrowthOperator(entry["name"], block=2, start=1, length=2).rows(8)
            self.assertEqual(rows.source_depth, 8)
            self.assertEqual(rows.is_order, entry["is_order"], entry["name"])
            self.assertTrue(entry["help"])
        self.assertEqual(dg.operator_names(orders_only=True), [e["name"] for e in dg.operator_table() if e["is_order"]])

    def test_an_order_is_a_sequence(self):
        order = dg.lidas(8)
        self.assertEqual((len(order), order[-1], order.source_depth), (12, 7, 8))
        self.assertEqual(order, [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7])
        self.assertEqual([slot for slot in range(12) if order.is_new(slot)], [6, 7, 8, 9])
        self.assertEqual(dg.LayerOrder.parse(str(order), 8), order)
        with self.assertRaises(IndexError):
            order[12]

    def test_compose(self):
        both = dg.compose(dg.lidas(12), dg.lidas(8))
        self.assertEqual(list(both), [list(dg.lidas(8))[source] for source in dg.lidas(12)])
        with self.assertRaisesRegex(dg.Error, r"\[compose\] expected an outer order for 12 layers"):
            dg.compose(dg.lidas(8), dg.lidas(8))

    def test_errors_are_sentences(self):
        with self.assertRaisesRegex(dg.Error, "a multiple of the block 4, got 7"):
            dg.midas(7)
        with self.assertRaisesRegex(ValueError, "did you mean midas"):
            dg.GrowthOperator("midos")
        with self.assertRaisesRegex(dg.Error, "a layer index below 2 at slot 1, got 2"):
            dg.LayerOrder([0, 2], 2)

    def test_schedule(self):
        plan = dg.plan_growth(dg.GrowthOperator("lidas"), 4, 24, plateau_steps=170000, total_steps=200000)
        self.assertEqual(plan.growth_steps(), [8095, 24286, 48572, 80953, 121429])
        self.assertEqual([stage.layers for stage in plan.stages], [4, 8, 12, 16, 20, 24])
        self.assertEqual(plan.layers_at(8094), 4)
        self.assertEqual(plan.layers_at(8095), 8)
        self.assertEqual(plan.stages[1].order, dg.lidas(4))
        self.assertEqual(repr(plan.stages[1]), "GrowthStage(layers=8, first_step=8095, steps=16191)")
        self.assertTrue(repr(plan).startswith("GrowthPlan(4 layers from step 0, 8 layers from step 8095, 12 layers"))
        shape = dg.ModelShape(layers=24, width=2048, kv_width=2048, ffn=8192, vocab=49152, context=2048)
        plain = dg.training_flops(shape, dg.plan_plain(24, 200000), 1000)
        grown = dg.training_flops(shape, plan, 1000)
        self.assertTrue(0.7 < grown / plain < 0.9)
        steps = dg.flop_matched_steps(shape, plan)
        self.assertAlmostEqual(steps / 200000, grown / plain, places=4)
        read = dg.GrowthPlan.parse("10 lidas block=2\n20 0 0 1 2 3 4 5 state=zero\n", 4, 30)
        self.assertEqual(read.growth_steps(), [10, 20])
        self.assertEqual(read.stages[2].growth.state, "zero")

    def test_growth_and_lineage(self):
        how = dg.Growth(dg.lidas(4, block=2), init="average", state="zero")
        self.assertEqual(str(how.rows()), "0 1 2 0.5*2+0.5*3 0.5*2+0.5*3 3")
        self.assertEqual(dg.Growth.parse(str(how), 4), how)
        history = dg.Lineage(4)
        history.record(dg.lidas(4, block=2))
        self.assertEqual(history.depth, 6)
        order = dg.lidas(4, block=2)
        for a in range(6):
            for b in range(6):
                expected = 2 if a == b else 1 if order[a] == order[b] else 0
                self.assertEqual(history.shared_until(a, b), expected)

    def test_grow_a_list(self):
        rates = [{"rate": float(layer)} for layer in range(4)]
        grown = dg.grow(rates, [0, 1, 1, 2, 3])
        self.assertIs(grown[1], rates[1])
        self.assertIsNot(grown[2], rates[1])
        self.assertEqual(grown[2], rates[1])
        with self.assertRaisesRegex(dg.Error, "expected an order for 4 layers, got one for 8"):
            dg.grow(rates, dg.lidas(8))


if __name__ == "__main__":
    unittest.main()
