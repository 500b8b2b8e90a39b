"""`python -m expfam_glm demo`: the main job on shipped data."""

from __future__ import annotations

import argparse

import matplotlib

import expfam_glm as eg
from expfam_glm.command.steps import Steps, make_folder, write_trees

FORMULA = "seizures ~ lbase * treatment + age + C(visit)"


def run(chosen: argparse.Namespace) -> int:
    """Fit the seizure data by IRLS, GEE and NUTS, print the comparison, write plot and trees."""
    matplotlib.use("Agg")
    steps, out = Steps(), chosen.out
    say = steps.say
    say("Loading the seizure counts of Thall and Vail (1990)")
    make_folder(out)
    seizures = eg.load_data("seizures")
    model = eg.GLM(FORMULA, seizures, family="poisson")
    patients = seizures["patient"].nunique()
    say(f"Model: {FORMULA}, Poisson, log link; {len(seizures)} visits of {patients} patients")
    say("Maximum likelihood by IRLS")
    mle = model.fit()
    say("GEE: clusters are patients, exchangeable working correlation, robust errors")
    gee = model.gee(groups="patient", correlation="exchangeable")
    say("The same model in PyMC: NUTS, 4 chains × 1000 draws (the first run compiles)")
    bayes = model.sample(draws=1000, chains=4, random_seed=1)
    say("Comparison")
    trees = {"MLE": mle, "GEE": gee, "Bayes": bayes}
    table = eg.compare(trees)
    print(f"\n{eg.summary(mle)}\n\n{eg.summary(table)}\n")
    print(
        "MLE and Bayes agree: the prior is weak and the data are many. GEE's intervals are wider:\n"
        "visits of one patient resemble each other, and the counts vary more than a Poisson\n"
        "distribution does, which the other two do not see.\n"
    )
    picture = out / "forest.png"
    eg.plot_comparison(table).savefig(picture)
    say(f"Forest plot: {picture}")
    write_trees(trees, out, steps)
    say("Done")
    return 0
