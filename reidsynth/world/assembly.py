"""Puts a person together: which part is drawn before which, per view."""

from __future__ import annotations

from dataclasses import replace

from reidsynth.world import bags, clothes, fronts, head
from reidsynth.world.cameras import Shot
from reidsynth.world.figure import Figure, arms_of, legs_of
from reidsynth.world.identities import Identity, body


def draw_figure(identity: Identity, shot: Shot) -> Figure:
    """Return the shapes and marks of an identity in a shot, back to front."""
    if identity.look["bag"] == "handbag":
        # Nobody lifts a handbag to the chin.
        shot = replace(shot, bend=(min(shot.bend[0], 0.25), min(shot.bend[1], 0.25)))
    figure = Figure(identity.look, body(identity), shot)
    arms, legs = arms_of(figure.body, shot), legs_of(figure.body, shot)
    if not shot.frontal:
        clothes.add_arm(figure, arms[0])
    if shot.view != "back":
        bags.add_bag_behind(figure)
        head.add_behind(figure)
    clothes.add_leg(figure, legs[0])
    clothes.add_leg(figure, legs[1])
    clothes.add_skirt(figure)
    head.add_neck(figure)
    clothes.add_trunk(figure)
    fronts.add_logo(figure)
    if shot.frontal:
        bags.add_bag_before(figure)
        for arm in arms:
            clothes.add_arm(figure, arm)
        bags.add_bag_over(figure)
        head.add_head(figure)
    else:
        head.add_head(figure)
        bags.add_bag_before(figure)
        clothes.add_arm(figure, arms[1])
        bags.add_bag_over(figure)
    return figure
